"""Text and tokens in a real object store: the same shards and samples as from this machine."""

import gzip
import hashlib
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tenacity

from switchpoint.components.data import shards
from switchpoint.components.data.corpus import (
    Corpus,
    CorpusFile,
    FileDigests,
    check_unchanged,
    list_files,
    open_file,
    version_of,
)
from switchpoint.components.data.join import fetch_stream
from switchpoint.components.data.readers import Piece, TextOptions, read_piece
from switchpoint.components.data.remote_tokens import RangeCache, open_tokens
from switchpoint.components.data.samples import open_samples
from switchpoint.components.data.streams import pack_stream
from switchpoint.components.data.token_file import TokenWriter
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import remote, remote_file, retries
from switchpoint.components.store.retries import StoreUnavailable
from tests.components.conftest import Network, ObjectStore
from tests.components.data.test_tokenise import Tokenised, files, planned, study
from tests.faulty_proxy import FAULTS, each

__all__ = ["study"]


def test_a_folder_in_an_object_store_gives_the_same_shards(
    study: dict[str, Any], tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    here = planned(study, tmp_path / "here").run()
    object_store.system.put(str(tmp_path / "lines"), f"{object_store.url}/lines", recursive=True)
    study["sources"]["prose"]["folder"] = f"{object_store.url}/lines"
    there = planned(study, tmp_path / "there").run()
    assert len(there.record("prose")["shards"]) > 3
    assert there.tokens("prose") == here.tokens("prose")
    assert there.heldout("prose") == here.heldout("prose")
    assert sorted(files(there.store).values()) == sorted(files(here.store).values())

    known = planned(study, tmp_path / "there")
    assert known.plan.tokens["prose"] == there.plan.tokens["prose"]
    object_store.system.pipe(f"{object_store.url}/lines/b.jsonl", b'{"text": "another"}\n{"text": "and one"}\n')
    changed = planned(study, tmp_path / "there")
    assert changed.plan.tokens["prose"] != there.plan.tokens["prose"]
    with pytest.raises(BadInput, match=r"sources\.prose\.folder"):
        planned(study | {"sources": study["sources"] | {"prose": {"folder": f"{object_store.url}/none"}}}, tmp_path)


def in_object_store(done: Tokenised, object_store: ObjectStore, folder: Path) -> str:
    """The tokens of `prose`, as somebody else's Megatron file."""
    shard = done.store.root / done.record("prose")["shards"][0]
    for suffix in (".bin", ".idx"):
        object_store.system.put_file(str(shard / f"all{suffix}"), f"{object_store.url}/tokens/corpus{suffix}")
    shutil.copytree(done.store.local_folder(done.plan.tokenizer), folder / "tokenizer")
    (folder / "valid").mkdir()
    (folder / "valid" / "v.txt").write_text("What is held out of it.")
    return f"{object_store.url}/tokens/corpus"


def test_samples_from_an_object_store_are_those_of_this_machine(
    study: dict[str, Any], tmp_path: Path, object_store: ObjectStore
) -> None:
    done = planned(study, tmp_path / "here").run()
    prefix = in_object_store(done, object_store, tmp_path)
    study["tokenizer"] = {"folder": str(tmp_path / "tokenizer")}
    study["sources"]["prose"] = {"token_file": prefix, "heldout": str(tmp_path / "valid")}
    there = planned(study, tmp_path / "there").run()
    assert there.tokens("prose") == done.tokens("prose")
    for packing in ("concatenate", "best_fit"):
        both = []
        for one in (done, there):
            path = fetch_stream(one.plan, one.store, "prose")
            pack_stream(path, one.store, 32)
            samples = open_samples(path, one.store, 32, packing)  # type: ignore[arg-type]
            chosen = np.random.default_rng(0).permutation(samples.num_samples)[:200].tolist()
            rows = np.empty((len(chosen), 33), dtype=np.int64)
            for row, number, ahead in zip(rows, chosen, [*chosen[8:], *chosen[:8]], strict=True):
                samples.prefetch(ahead)
                samples.read(number, row)
            both.append(rows)
        assert np.array_equal(*both)

    object_store.system.pipe(f"{prefix}.bin", object_store.system.cat_file(f"{prefix}.bin")[:-2])
    with pytest.raises(BadInput, match=r"corpus\.bin: sources\.prose\.token_file: the file is shorter"):
        planned(study, tmp_path / "third")


def test_the_cache_is_bounded_and_what_fails_for_a_moment_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Faulty:
        """Every third request fails."""

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            asked.append((start, end))
            if len(asked) % 3 == 0:
                raise ConnectionError("reset by peer")
            return bytes(end - start)

    monkeypatch.setattr(remote, "file_system", lambda url: (Faulty(), url))
    monkeypatch.setattr(retries, "WAIT", tenacity.wait_none())
    cache = RangeCache(num_bytes=1_000)
    for start in range(0, 10_000, 100):
        assert cache.begin("s3://b/x", start, start + 100).result() == bytes(100)
    assert len(cache._ranges) == 10
    assert len(asked) == 149
    cache.begin("s3://b/x", 9_900, 10_000)
    assert len(asked) == 149


def corpus_files(folder: Path) -> Path:
    """Write a corpus of every kind of file, each of some 100 to 250 kB."""
    texts = [f"{number}: {text}" for number, text in enumerate(sorted(topics.values()))]
    lines = b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines[:250_000])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines, 1))
    pq.write_table(pa.table({"text": texts, "other": texts[::-1]}), folder / "c.parquet", row_group_size=40)
    (folder / "d.txt").write_text("".join(texts)[:120_000])
    return folder


def documents(folder: str) -> list[tuple[str, str]]:
    """Read all documents of a folder, JSON lines in two pieces; what cannot be read is an error."""
    corpus = Corpus(folder=folder, files=(), heldout_below=0)

    def refuse(problem: BadInput) -> None:
        if "not JSON" not in str(problem):  # the line at which a.jsonl was cut
            raise problem

    pieces = [Piece(name="a.jsonl", digest="", end=90_000), Piece(name="a.jsonl", digest="", start=90_000, end=250_000)]
    pieces += [Piece(name=name, digest="") for name in ("b.jsonl.gz", "c.parquet", "d.txt")]
    return [
        (document.name, document.text)
        for piece in pieces
        for document in read_piece(corpus, piece, TextOptions(), refuse)
    ]


def test_a_corpus_behind_a_faulty_network_has_the_same_documents(
    tmp_path: Path, object_store: ObjectStore, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request fails twice, in one of all ways; connections break in the middle of a file, too."""
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", 120_000)
    here = corpus_files(tmp_path / "corpus")
    there = f"{object_store.url}/corpus"
    object_store.system.put(str(here), there, recursive=True)
    proxy = network(each(2, *FAULTS))
    assert [name for name, *_ in list_files(f"{there}/", "field")] == sorted(path.name for path in here.iterdir())
    wanted = documents(str(here))
    assert len(wanted) > 150
    assert documents(there) == wanted
    assert set(proxy.faults) == set(FAULTS)
    for path in here.iterdir():
        with open_file(there, path.name) as file:
            assert file.read() == path.read_bytes()


def test_a_file_of_an_object_store_is_known_by_its_checksum(tmp_path: Path, object_store: ObjectStore) -> None:
    """The digest of a corpus depends on it: another form would tokenise every corpus anew."""
    object_store.system.pipe_file(f"{object_store.url}/corpus/a.txt", b"some text")
    known = (9, f"sum {hashlib.md5(b'some text').hexdigest()}")
    assert list_files(f"{object_store.url}/corpus", "field") == [("a.txt", 9, known)]
    assert version_of(f"{object_store.url}/corpus", "a.txt") == known
    wanted = hashlib.sha256(repr(known).encode()).hexdigest()[:32]
    assert FileDigests().of(f"{object_store.url}/corpus", "a.txt", known) == wanted


def write_tokens(object_store: ObjectStore, folder: Path) -> "tuple[str, npt.NDArray[np.integer]]":
    ids = np.random.default_rng(0).integers(0, 50_000, 40_000)
    with TokenWriter(folder / "tokens", 50_000) as writer:
        writer.write(ids, np.full(40, 1_000))
    for suffix in (".bin", ".idx"):
        object_store.system.put_file(str(folder / f"tokens{suffix}"), f"{object_store.url}/tokens{suffix}")
    return f"{object_store.url}/tokens", ids


def read_some(prefix: str, ids: "npt.NDArray[np.integer]") -> bool:
    """Read twenty parts of a token file, the next ones ahead, and compare them."""
    tokens = open_tokens(prefix)
    starts = np.random.default_rng(1).integers(0, len(ids) - 500, 20).tolist()
    for start in starts:
        tokens.prefetch(slice(start, start + 500))  # type: ignore[union-attr]
    return all(np.array_equal(tokens[start : start + 500], ids[start : start + 500]) for start in starts)


def test_tokens_behind_a_faulty_network_are_the_same(
    tmp_path: Path, object_store: ObjectStore, network: Network
) -> None:
    prefix, ids = write_tokens(object_store, tmp_path)
    proxy = network(each(2, *FAULTS))
    assert read_some(prefix, ids)
    assert set(proxy.faults) == set(FAULTS)


def test_threads_and_forked_processes_read_the_same(
    tmp_path: Path, object_store: ObjectStore, network: Network
) -> None:
    """Also after the process that they are forked from has read: it has a client and threads, which they have not."""
    prefix, ids = write_tokens(object_store, tmp_path)
    object_store.system.put_file(str(tmp_path / "tokens.bin"), f"{object_store.url}/corpus/file")
    network(lambda _: "")

    def read(_: int = 0) -> None:
        assert read_some(prefix, ids)
        with open_file(f"{object_store.url}/corpus", "file") as file:
            assert file.read() == (tmp_path / "tokens.bin").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))
    forked = multiprocessing.get_context("fork").Process(target=read)
    forked.start()
    forked.join(60)
    if forked.is_alive():
        forked.kill()
    assert forked.exitcode == 0
    read()


def test_a_missing_object_is_told_at_once(tmp_path: Path, object_store: ObjectStore, network: Network) -> None:
    proxy, there = network(lambda _: ""), f"{object_store.url}/corpus"
    file = CorpusFile(name="none.jsonl", num_bytes=1, digest="", version=(1, ""))
    with pytest.raises(BadInput, match=f"{there}/none.jsonl: the file cannot be read: .* no such object"):
        check_unchanged(there, file)
    with pytest.raises(FileNotFoundError, match=f"{there}/none.jsonl: the object store has no such object"):
        open_file(there, "none.jsonl")
    with pytest.raises(BadInput, match=r"/none\.idx: the file cannot be read: the object store has no such object"):
        open_tokens(f"{there}/none")
    with pytest.raises(FileNotFoundError, match=r"/none\.bin: the object store has no such object"):
        RangeCache().begin(f"{there}/none.bin", 0, 10).result()
    with pytest.raises(BadInput, match=r"field: the folder holds no file"):
        list_files(there, "field")
    with pytest.raises(BadInput, match=r"field: the folder cannot be read: FileNotFoundError"):
        list_files("s3://there-is-no-such-bucket/corpus", "field")
    # Each is asked for as a file and as a folder, by five of the six.
    assert max(Counter(proxy.requests).values()) <= 2


def test_a_refused_login_is_told_at_once(
    tmp_path: Path, object_store: ObjectStore, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.system.pipe_file(f"{object_store.url}/corpus/a.txt", b"some text")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    proxy, there = network(lambda _: ""), f"{object_store.url}/corpus"
    file = CorpusFile(name="a.txt", num_bytes=9, digest="", version=(9, ""))
    operations: list[tuple[type[Exception], Callable[[], object]]] = [
        (BadInput, lambda: list_files(there, "field")),
        (BadInput, lambda: check_unchanged(there, file)),
        (PermissionError, lambda: open_file(there, "a.txt")),
        (BadInput, lambda: open_tokens(f"{there}/a")),
        (PermissionError, lambda: RangeCache().begin(f"{there}/a.txt", 0, 10).result()),
    ]
    for number, (kind, operation) in enumerate(operations, 1):
        with pytest.raises(kind, match=r"the object store refuses access.*: check the credentials") as refused:
            operation()
        assert "wrong-secret" not in str(refused.value)
        assert len(proxy.requests) == number


def test_a_store_that_is_away_is_no_bad_input(object_store: ObjectStore, network: Network) -> None:
    """Bad input ends a study; a store that is away is worth a restart of the task."""
    network(lambda _: "error")
    file = CorpusFile(name="a.txt", num_bytes=9, digest="", version=(9, ""))
    for operation in (
        lambda: check_unchanged(object_store.url, file), lambda: open_tokens(f"{object_store.url}/tokens"),
    ):  # fmt: skip
        with pytest.raises(StoreUnavailable, match="does not answer"):
            operation()
