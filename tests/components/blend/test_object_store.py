"""Text and tokens in a real object store: the same shards and samples as from this machine."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.blend import remote_tokens, shards
from components.blend.join import stream_path
from components.blend.remote_tokens import RangeCache
from components.blend.samples import open_samples
from components.blend.streams import pack_stream
from components.recipe.errors import BadInput
from tests.components.blend.test_tokenise import Tokenised, files, planned, study
from tests.components.conftest import ObjectStore

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
    remote = planned(study, tmp_path / "there")
    assert remote.plan.tokens["prose"] != there.plan.tokens["prose"]
    with pytest.raises(BadInput, match=r"sources\.prose\.folder"):
        planned(study | {"sources": study["sources"] | {"prose": {"folder": f"{object_store.url}/none"}}}, tmp_path)


def in_object_store(done: Tokenised, object_store: ObjectStore, folder: Path) -> str:
    """The tokens of `prose`, as somebody else's Megatron file."""
    shard = done.store.root / done.record("prose")["shards"][0]
    for suffix in (".bin", ".idx"):
        object_store.system.put_file(str(shard / f"all{suffix}"), f"{object_store.url}/tokens/corpus{suffix}")
    shutil.copytree(done.store.path(done.plan.tokenizer), folder / "tokenizer")
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
            path = stream_path(one.plan, one.store, "prose")
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


def test_the_cache_is_bounded_and_what_fails_for_a_moment_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    class Faulty:
        """Every third request fails."""

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            asked.append((start, end))
            if len(asked) % 3 == 0:
                raise ConnectionError("reset by peer")
            return bytes(end - start)

    monkeypatch.setattr(remote_tokens, "_system", lambda url: (Faulty(), url))
    monkeypatch.setattr(remote_tokens, "wait_random_exponential", lambda *_, **__: lambda _: 0)
    cache = RangeCache(num_bytes=1_000)
    for start in range(0, 10_000, 100):
        assert cache.begin("s3://b/x", start, start + 100).result() == bytes(100)
    assert len(cache._ranges) == 10
    assert len(asked) == 149
    cache.begin("s3://b/x", 9_900, 10_000)
    assert len(asked) == 149
