"""A study whose store is an object store that fails: the same bits as in a folder, each task with an empty disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from switchpoint.components.recipe.load import load_study
from switchpoint.pipelines.compile import SPEC
from tests import conftest as here
from tests import object_store as there
from tests.components.conftest import KEY, SECRET, ObjectStore, s3_endpoint
from tests.conftest import switchpoint
from tests.faulty_proxy import FAULTS, FaultyProxy, faulty, some
from tests.pipelines.conftest import Finished

__all__ = ["s3_endpoint"]

pytestmark = pytest.mark.slow
FAILING = 0.1
"""Of the requests."""


@dataclass(frozen=True)
class Remote:
    """A study that ran to its end in an object store."""

    store: ObjectStore
    folder: Path
    proxy: FaultyProxy
    before: dict[str, str]
    """Checksums of what was there when the run was cut."""

    @property
    def where(self) -> str:
        return self.store.url


def environment(endpoint: str, cache: Path) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1", "FSSPEC_S3": json.dumps(there.QUICK), "SWITCHPOINT_CACHE": str(cache),
    }  # fmt: skip


@pytest.fixture(scope="module")
def remote(finished: Finished, s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """The study of `finished`, in pods, with faults; killed while it trains, and started again."""
    import s3fs

    folder = tmp_path_factory.mktemp("remote")
    system = s3fs.S3FileSystem(
        key=KEY, secret=SECRET, endpoint_url=s3_endpoint, client_kwargs={"region_name": "us-east-1"},
        use_listings_cache=False, skip_instance_cache=True,
    )  # fmt: skip
    system.mkdir("studies")
    store = ObjectStore("s3://studies/one", system)
    arguments = {"study": load_study(finished.recipe), "store": store.url, "recipe_file": str(finished.recipe)}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    (folder / "pods").mkdir()
    command = ["tests.pipelines.pod_run", SPEC, folder / "arguments.json", folder / "kfp", folder / "pods"]
    with faulty(s3_endpoint, some(FAILING)) as proxy, (folder / "log").open("wb") as log:

        def start() -> "subprocess.Popen[bytes]":
            variables = os.environ | environment(proxy.url, folder / "launcher")
            return subprocess.Popen(
                [sys.executable, "-m", *map(str, command)], stdout=log, stderr=log, env=variables
            )  # fmt: skip

        first = start()
        _wait(lambda: bool(system.glob("studies/one/phase/*/checkpoints/*/state.json")), first, folder / "log")
        first.send_signal(signal.SIGKILL)
        first.wait()
        time.sleep(5)  # its tasks and their jobs end with it
        before = {path: info["ETag"] for path, info in system.find("studies/one", detail=True).items()}
        assert start().wait(timeout=1500) == 0, (folder / "log").read_text()[-6000:]
        yield Remote(store, folder, proxy, before)


def _wait(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()[-6000:]
        assert time.monotonic() < deadline, log.read_text()[-6000:]
        time.sleep(0.3)


def test_the_bits_are_those_of_a_folder(remote: Remote, finished: Finished) -> None:
    assert set(remote.proxy.faults) == set(FAULTS)
    assert sum(remote.proxy.faults.values()) > 0.05 * len(remote.proxy.requests) > 20
    assert there.weights(remote.store) == here.weights(finished.root)
    assert there.losses(remote.store) == here.losses(finished.root)
    for step in ("shard", "tokens", "blend", "evaluation"):
        assert [one["outputs"] for one in there.records(remote.store, step)] == [
            one["outputs"] for one in here.records(finished.root, step)
        ]


def test_nothing_was_trained_twice(remote: Remote) -> None:
    """What was complete when the run was cut has not been written again."""
    done = {path.rpartition("/")[0] for path in remote.before if path.endswith(("/record.json", "/state.json"))}
    whole = [folder for folder in done if "/base/" in folder or "/checkpoints/" in folder or "/shard/" in folder]
    assert any("/base/" in folder for folder in whole)
    assert any("/phase/" in folder for folder in whole)
    after = {path: info["ETag"] for path, info in remote.store.system.find(remote.where, detail=True).items()}
    for path, checksum in remote.before.items():
        if any(path.startswith(f"{folder}/") for folder in whole):
            assert after[path] == checksum, path


def test_no_secret_is_written(remote: Remote) -> None:
    assert not there.who_tells_the_secret(remote.store)
    for file in remote.folder.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_the_commands_know_a_store_by_its_url(
    remote: Remote, finished: Finished, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that has nothing of it."""
    for name, value in environment(s3_endpoint, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    given = [finished.recipe, "--store", remote.where, "--json"]
    planned = switchpoint("plan", *given)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["missing"] == []
    again = switchpoint("run", *given)
    assert again.returncode == 0, again.stderr
    assert "nothing is left to do" in again.stderr
    states = {output["state"] for output in json.loads(switchpoint("status", *given).stdout)["outputs"]}
    assert states == {"done"}
    report = switchpoint("report", *given)
    assert report.returncode == 0, report.stderr
    assert Path(json.loads(report.stdout)["report"]).is_file()
    pruned = switchpoint("prune", *given)
    assert json.loads(pruned.stdout)["freed_bytes"] > 100_000, pruned.stderr
    assert not there.find(remote.store, "phase/*/checkpoints/*/*")
    assert switchpoint("run", *given).returncode == 0
    no_password = switchpoint("plan", finished.recipe, "--store", "s3://me:hunter2@studies/one")
    assert no_password.returncode == 2
    assert "credentials do not belong" in no_password.stderr
    assert "hunter2" not in no_password.stderr
    no_bucket = switchpoint("run", finished.recipe, "--store", "s3://no-such-bucket/one")
    assert no_bucket.returncode == 2, no_bucket.stderr
    assert "no such bucket" in no_bucket.stderr
