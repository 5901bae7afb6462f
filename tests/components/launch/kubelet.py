"""A cluster of one machine: a thread plays Volcano and a kubelet, and runs the pods of every Job as processes.

Only for what pods do; no container, no user, no network of their own.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client

from tests.components.launch.controller import GROUP, JOBS, VERSION, Controller


class Kubelet:
    """While it is open. `given`: what pods get by reference (Secrets, ConfigMaps), by name.

    `disturb(name, start)` is called while a Job runs, with how often it was started; where it returns true, its pods
    are pre-empted once: killed, and Volcano ends the Job, since a kubelet since 1.27 writes the phase Failed on them.
    """

    def __init__(
        self, api: Any, namespace: str, folder: Path, given: dict[str, str],
        disturb: Callable[[str, int], bool] = lambda name, start: False,
    ) -> None:  # fmt: skip
        self.api, self.namespace, self.folder, self.given, self.disturb = api, namespace, folder, given, disturb
        self.ran: list[str] = []
        """Names of the Jobs, as they were started."""
        self.evicted: list[str] = []
        self.jobs: dict[str, Any] = {}
        """As they were made, by name."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="kubelet", daemon=True)

    def __enter__(self) -> "Kubelet":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        running: dict[str, tuple[str, subprocess.Popen[bytes] | Any]] = {}
        while not self._over.wait(0.2):
            found = client.CustomObjectsApi(self.api).list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, JOBS
            )
            jobs = {job["metadata"]["name"]: job for job in found["items"]}
            for name, (uid, pods) in list(running.items()):
                if jobs.get(name, {}).get("metadata", {}).get("uid") != uid:  # deleted, perhaps made anew
                    _kill(running.pop(name)[1])
                elif jobs[name].get("status", {}).get("state", {}).get("phase") == "Aborted":
                    _terminate(running.pop(name)[1])
                else:
                    self._look(name, pods, running)
            for name, job in jobs.items():
                if job["metadata"].get("deletionTimestamp"):  # the garbage collector is played here, too
                    Controller(self.api, self.namespace, name).let_go(job)
                elif name not in running and not job.get("status", {}).get("state"):
                    self.ran.append(name)
                    self.jobs[name] = job
                    running[name] = (job["metadata"]["uid"], self._start(job))
                    Controller(self.api, self.namespace, name).phase("Running")
        for _, pods in running.values():
            _kill(pods)

    def _look(self, name: str, pods: Any, running: dict[str, Any]) -> None:
        controller = Controller(self.api, self.namespace, name)
        codes = [pod.poll() for pod in pods]
        if all(code == 0 for code in codes):
            controller.phase("Completed")
            del running[name]
        elif any(code for code in codes):
            _kill(pods)
            controller.phase("Terminated")
            del running[name]
        elif name not in self.evicted and self.disturb(name, self.ran.count(name)):
            _kill(pods)
            self.evicted.append(name)
            controller.event("Evict", f"Pod {name}-train-0-0 is evicted, because of preempt")
            controller.phase("Terminated")
            del running[name]

    def _start(self, job: dict[str, Any]) -> Any:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = str(one.getsockname()[1])
        pods = []
        for task in job["spec"]["tasks"]:
            (container,) = task["template"]["spec"]["containers"]
            environment = {one["name"]: one["value"] for one in container["env"] if "value" in one}
            for source in container.get("envFrom", []):
                assert source.keys() <= {"secretRef", "configMapRef"}
                environment |= self.given
            scratch = self.folder / f"{job['metadata']['name']}-{len(self.ran)}-{task['name']}"
            scratch.mkdir(exist_ok=True)
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            role = task["name"].rsplit("-", 1)[0].upper()
            environment |= {
                "PATH": path, "HOME": str(scratch), "TMPDIR": str(scratch), f"VC_{role}_0_HOSTS": "127.0.0.1",
                "PYTHONPATH": str(Path(__file__).parents[3]),
            }  # fmt: skip
            command = [part.replace(":29500", f":{port}") for part in container["command"]]
            with (scratch / "log").open("wb") as log:
                pods.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        return pods


def _kill(pods: Any) -> None:
    for pod in pods:
        if pod.poll() is None:
            os.killpg(pod.pid, 9)
        pod.wait()


def _terminate(pods: Any) -> None:
    for pod in pods:
        pod.terminate()
    for pod in pods:
        pod.wait(timeout=60)
