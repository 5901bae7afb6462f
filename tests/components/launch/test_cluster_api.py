"""What a launcher does with an API server that does not answer, without one."""

import io
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from urllib3.exceptions import HTTPError

from switchpoint.components.launch import cluster_api, cluster_job
from switchpoint.components.launch.cluster_api import ClusterAPI, api_client
from switchpoint.components.launch.job import JobRequest
from switchpoint.components.launch.site import Launched, Site
from switchpoint.components.recipe.errors import BadInput
from tests.kube import kubeconfig_of


@pytest.fixture
def silent_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """It takes connections, and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        known_as(url, tmp_path, monkeypatch)
        yield url


def known_as(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "kubeconfig").write_text(kubeconfig_of(url, "token"))
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))


@pytest.mark.parametrize("followed", [False, True])
def test_no_request_waits_for_ever(silent_server: str, monkeypatch: pytest.MonkeyPatch, followed: bool) -> None:
    """TorchX makes Jobs and reads logs with the client that it is given, without a limit of its own."""
    monkeypatch.setattr(cluster_api, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(cluster_api, "LOG_SECONDS", 0.2)
    api = api_client()
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            if followed:
                client.CoreV1Api(api).read_namespaced_pod_log("pod", "team", follow=True, _preload_content=False)
            else:
                client.CustomObjectsApi(api).create_namespaced_custom_object("group", "v1", "team", "jobs", {})
        except HTTPError as error:
            failed.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert failed


@contextmanager
def answering(answers: "Callable[[str], tuple[int, str]]") -> Iterator[str]:
    """A server whose answers are those of a function of the method."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            code, body = answers(self.command)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for between two questions."""
    monkeypatch.setattr(cluster_api, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(cluster_api, "wait_exponential", lambda *_, **__: lambda _: 0.1)


@pytest.mark.usefixtures("quick")
def test_a_server_that_never_answered_is_not_asked_for_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It raises: the limit of a test's time is far below the hours for which a server that answered is polled."""
    known_as("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(BadInput, match="the API server does not answer"):
        ClusterAPI("team").job("gb-1")
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_webhook_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server itself answers; what it lacks is Volcano."""
    said = '{"message": "failed calling webhook validatejob.volcano.sh: no endpoints available"}'

    def answers(method: str) -> tuple[int, str]:
        return (200, "{}") if method == "GET" else (500, said)

    with answering(answers) as url:
        known_as(url, tmp_path, monkeypatch)
        api = ClusterAPI("team")
        assert api.job("gb-1") == {}
        custom: Any = client.CustomObjectsApi(api.client)
        with pytest.raises(BadInput, match=r"takes no job .failed calling webhook validatejob"):
            api.asked(lambda: custom.create_namespaced_custom_object("group", "v1", "team", "jobs", {}), is_first=True)
    assert "failed calling webhook" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_server_that_has_answered_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[float] = []

    def answers(method: str) -> tuple[int, str]:
        began.append(time.monotonic())
        away = len(began) > 1 and time.monotonic() - began[1] < 1.5
        return (503, "{}") if away else (200, "{}")

    with answering(answers) as url:
        known_as(url, tmp_path, monkeypatch)
        api = ClusterAPI("team")
        assert api.job("gb-1") == {}
        assert api.job("gb-1") == {}
    assert len(began) > 5


def test_a_launcher_ends_though_python_drops_what_its_signal_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it frees a file, as every response is one: whatever `close` raises then is dropped."""

    class Response(io.RawIOBase):
        def close(self) -> None:
            if not self.closed:
                signal.raise_signal(signal.SIGTERM)
            super().close()

    request = JobRequest(name="gb-1", module="switchpoint.components.train.app", arguments=(), log_folder=tmp_path)
    launched = Launched(site=Site(trainer_image="image"), namespace="team")
    with answering(lambda _: (404, "{}")) as url:
        known_as(url, tmp_path, monkeypatch)
        api = ClusterAPI("team")
        with cluster_job._aborted_by_sigterm(request, launched, api):
            Response()
            with pytest.raises(cluster_job.Cancelled):
                api.job("gb-1")
