"""Reading an object from end to end, and in pieces, whatever the network does."""

import hashlib
import io
import os
from collections import Counter
from pathlib import Path

import pytest

from switchpoint.components.store import remote, remote_file
from switchpoint.components.store.remote_file import RemoteFile
from switchpoint.components.store.retries import ATTEMPTS, StoreUnavailable
from tests.components.conftest import Network, ObjectStore
from tests.faulty_proxy import FAULTS, each

BLOCK = 50_000


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", BLOCK)


def ranges(requests: list[str]) -> list[str]:
    return [request.rpartition("bytes=")[2] for request in requests if "bytes=" in request]


def test_a_read_resumes_at_the_block_that_broke(object_store: ObjectStore, network: Network) -> None:
    """Only that block is asked for again, and every byte comes once."""
    content = os.urandom(5 * BLOCK + 17)
    object_store.system.pipe_file(f"{object_store.url}/file", content)
    asked: Counter[str] = Counter()

    def cut_third_block(request: str) -> str:
        asked[request] += 1
        return "cut inside" if request.endswith("bytes=100000-149999") and asked[request] < 4 else ""

    proxy = network(cut_third_block)
    with RemoteFile(f"{object_store.url}/file", num_ahead=0) as file:
        assert b"".join(iter(lambda: file.read(7_001), b"")) == content
    assert proxy.faults == {"cut inside": 3}
    assert ranges(proxy.requests) == [
        "0-49999", "50000-99999", *["100000-149999"] * 4, "150000-199999", "200000-249999", "250000-250016",
    ]  # fmt: skip


def test_every_fault_on_every_request_changes_no_byte(
    object_store: ObjectStore, network: Network, tmp_path: Path
) -> None:
    content = os.urandom(6 * BLOCK + 1)
    object_store.system.pipe_file(f"{object_store.url}/file", content)
    proxy = network(each(2, *FAULTS))
    with io.BufferedReader(RemoteFile(f"{object_store.url}/file")) as file:
        file.seek(3 * BLOCK - 5)
        assert file.read(20) == content[3 * BLOCK - 5 : 3 * BLOCK + 15]
        file.seek(0)
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()  # type: ignore[arg-type]
    remote.download(f"{object_store.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert set(proxy.faults) == set(FAULTS)


def test_a_store_that_stays_away_is_an_error_and_no_end_of_file(object_store: ObjectStore, network: Network) -> None:
    object_store.system.pipe_file(f"{object_store.url}/file", os.urandom(3 * BLOCK))
    away = [False]
    proxy = network(lambda request: "cut inside" if away[0] and "bytes=" in request else "")
    with RemoteFile(f"{object_store.url}/file", num_ahead=0) as file:
        assert len(file.read(BLOCK)) == BLOCK
        away[0] = True
        with pytest.raises(StoreUnavailable, match=f"{object_store.url}/file: the object store does not answer"):
            file.read(BLOCK)
        away[0] = False
        assert len(file.read(BLOCK)) == BLOCK
        assert file.tell() == 2 * BLOCK
    assert proxy.faults["cut inside"] >= ATTEMPTS


def test_an_object_that_is_replaced_meanwhile_is_no_mixture(object_store: ObjectStore, network: Network) -> None:
    object_store.system.pipe_file(f"{object_store.url}/file", b"a" * 3 * BLOCK)
    proxy = network(lambda _: "")
    with RemoteFile(f"{object_store.url}/file", num_ahead=0) as file:
        assert file.read(BLOCK) == b"a" * BLOCK
        object_store.system.pipe_file(f"{object_store.url}/file", b"b" * 3 * BLOCK)
        with pytest.raises(OSError, match="the object was replaced while it was read"):
            file.read(BLOCK)
    assert ranges(proxy.requests) == ["0-49999", "50000-99999"]


def test_blocks_are_read_ahead_in_a_row_and_only_then(object_store: ObjectStore, network: Network) -> None:
    object_store.system.pipe_file(f"{object_store.url}/file", os.urandom(9 * BLOCK))
    proxy = network(lambda _: "")
    with RemoteFile(f"{object_store.url}/file", num_ahead=2, num_kept=4) as file:
        for number in (7, 3, 0):
            file.seek(number * BLOCK)
            file.read(10)
        assert len(ranges(proxy.requests)) == 3
        file.seek(BLOCK)
        file.read(10)
        assert len(file._blocks) == 4
        assert set(file._blocks) == {0, 1, 2, 3}
    assert {int(one.partition("-")[0]) // BLOCK for one in ranges(proxy.requests)} <= {7, 3, 0, 1, 2}


def test_what_is_missing_is_told_at_once(object_store: ObjectStore, network: Network) -> None:
    proxy = network(lambda _: "")
    with pytest.raises(FileNotFoundError, match=f"{object_store.url}/none: the object store has no such object"):
        RemoteFile(f"{object_store.url}/none")
    assert len(proxy.requests) == len(set(proxy.requests)) <= 2
