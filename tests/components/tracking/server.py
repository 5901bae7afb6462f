"""Real servers on this machine: MLflow's, and PostgreSQL."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """An MLflow server that can be stopped and started again on the same port."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.port, self.environment, self.arguments = free_port(), environment, arguments
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, log: Path | None = None) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", *self.arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        with (log or Path(os.devnull)).open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=environment | self.environment
            )
        wait_until(lambda: answers(self.port) or self._died(), 120)
        assert not self._died(), log.read_text()[-3000:] if log else ""

    def _died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):  # it may have died
                os.killpg(self.process.pid, 15)
            self.process.wait()
            self.process = None


@contextmanager
def postgresql(password: str) -> Iterator[str]:
    """The address of a new database for the user `mlflow`. Skips where PostgreSQL is missing."""
    found = [Path(path) for path in (shutil.which("initdb"),) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    programs = found[0].resolve().parent
    # It refuses to be run by root; Debian's package brings a user.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        data, port = folder / "data", free_port()
        made = [programs / "initdb", "-D", data, "-U", "mlflow", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"]
        made += ["--locale=C", f"--pwfile={folder / 'password'}"]
        subprocess.run(made, check=True, user=user, stdout=subprocess.DEVNULL, cwd="/")
        command = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd="/")
        try:
            wait_until(lambda: answers(port) or server.poll() is not None)
            assert server.poll() is None, (folder / "log").read_text()
            yield f"postgresql://mlflow:{password}@127.0.0.1:{port}/postgres"
        finally:
            server.kill()  # it holds nothing that is needed
            server.wait()
    finally:
        shutil.rmtree(folder)
