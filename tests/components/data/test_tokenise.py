"""Folders to shards of tokens: the same whatever does the work, resumed by shard, nothing lost in silence."""

import io
import json
import os
import pydoc_data.topics
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, processors

from switchpoint.components.data import encoder, readers, shards
from switchpoint.components.data.blend import build_blends, source_tokens
from switchpoint.components.data.corpus import Corpus, CorpusFile, document_hash
from switchpoint.components.data.encoder import FastEncoder, ReferenceEncoder, leading_ids, open_encoder
from switchpoint.components.data.groups import groups, tokenise_group
from switchpoint.components.data.join import fetch_heldout_files, fetch_stream
from switchpoint.components.data.samples import ConcatenatedSamples
from switchpoint.components.data.token_file import read_token_file
from switchpoint.components.data.tokenizer import load_tokenizer, train_tokenizer
from switchpoint.components.plan.data import left_out
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.store import Store

TOPICS = [text for _, text in sorted(pydoc_data.topics.topics.items())]
TEXTS, ANSWERS = TOPICS[:60], TOPICS[60:76]


@dataclass(frozen=True)
class Tokenised:
    plan: Plan
    store: Store
    corpora: dict[str, Corpus]

    def run(self, num_groups: int = 1) -> "Tokenised":
        train_tokenizer(self.plan, self.store, self.corpora)
        for group in range(num_groups):
            tokenise_group(self.plan, self.store, self.corpora, group, num_groups)
        build_blends(self.plan, self.store, self.corpora)
        return self

    def tokens(self, key: str) -> list[int]:
        stream = ConcatenatedSamples(fetch_stream(self.plan, self.store, key), self.store, 8)
        name, _, tier = key.partition("@")
        found = np.empty(self.record(name)["tokens"][tier or "all"], dtype=np.int64)
        stream.read_tokens(0, found)
        return found.tolist()

    def decoded(self, key: str) -> list[str]:
        tokenizer, end = load_tokenizer(self.store.local_folder(self.plan.tokenizer))
        text = tokenizer.decode(self.tokens(key), skip_special_tokens=False)
        return text.split(tokenizer.id_to_token(end))[:-1]

    def heldout(self, key: str) -> list[str]:
        files = fetch_heldout_files(self.plan, self.store, key)
        return [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()]

    def record(self, key: str) -> dict[str, Any]:
        record = self.store.record(self.plan.tokens[key])
        assert record is not None
        return dict(record["outputs"])


def planned(study: dict[str, Any], root: Path) -> Tokenised:
    plan, inputs = check_study(study, "recipe.yaml", root)
    return Tokenised(plan, open_store(root), inputs.corpora)


@pytest.fixture
def study(study: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """`prose` is JSON lines of every kind, `answers` text files."""
    folder = tmp_path / "lines"
    folder.mkdir()
    lines = [json.dumps({"text": text, "language": "en", "n": number}) + "\n" for number, text in enumerate(TEXTS)]
    (folder / "a.jsonl").write_text("".join(lines[:40]))
    (folder / "b.jsonl").write_text("".join(lines[40:]))
    for path, text in zip(sorted((tmp_path / "answers").iterdir()), ANSWERS, strict=True):
        path.write_text(text)
    study["sources"] = {
        "prose": {"folder": str(folder), "metadata_fields": ["language", "n"]},
        "answers": {"folder": str(tmp_path / "answers")},
    }
    study["model"]["pretrain"]["tokens"] = study["horizon_tokens"] = 1_280
    return study


def files(store: Store) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in sorted(store.root.glob("shard/*/*"))
        if path.suffix in (".bin", ".idx", ".jsonl")
    }


def test_every_document_is_either_trained_on_or_held_out(study: dict[str, Any], tmp_path: Path) -> None:
    done = planned(study, tmp_path / "store").run()
    trained, heldout = done.decoded("prose"), done.heldout("prose")
    assert [text for text in TEXTS if text not in heldout] == trained
    assert len(trained) + len(heldout) == len(TEXTS)
    assert heldout
    record = done.record("prose")
    assert record["tokens"]["all"] == len(done.tokens("prose")) == source_tokens(done.plan, done.store)["prose"]
    assert (record["documents"], record["heldout_documents"]) == (len(trained), len(heldout))
    assert record["bytes"] == sum(len(text.encode()) for text in trained)
    table = pq.read_table(done.store.root / record["shards"][0] / "documents.parquet").to_pydict()
    assert sum(table["tokens"]) == record["tokens"]["all"]
    assert [TEXTS[int(number)] for number in table["metadata.n"]] == trained
    assert set(table["metadata.language"]) == {"en"}


def test_the_shards_are_the_same_whatever_the_number_of_workers_and_tasks(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    alone = planned(study, tmp_path / "alone")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    alone.run()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    together = planned(study, tmp_path / "together").run(num_groups=3)
    assert len(alone.record("prose")["shards"]) > 3
    assert files(alone.store) == files(together.store)
    whole = planned(study, tmp_path / "whole")
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**28)
    assert whole.run().tokens("prose") == alone.tokens("prose")


def test_the_layout_depends_on_the_files_alone_and_tasks_are_at_most_a_hundred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    sizes = {"a.jsonl": 250, "b.txt": 40, "c.txt": 50, "d.parquet": 300, "e.jsonl.gz": 120, "f.txt": 10}
    listed = tuple(CorpusFile(name=name, num_bytes=size, digest="", version=()) for name, size in sizes.items())
    found = [
        ([(piece.name, piece.start, piece.end) for piece in pieces], size)
        for pieces, size in shards.layout(Corpus(folder="", files=listed, heldout_below=0))
    ]
    assert found == [
        ([("a.jsonl", 0, 100)], 100), ([("a.jsonl", 100, 200)], 100), ([("a.jsonl", 200, 250)], 50),
        ([("b.txt", 0, None), ("c.txt", 0, None)], 90), ([("d.parquet", 0, None)], 300),
        ([("e.jsonl.gz", 0, None)], 120), ([("f.txt", 0, None)], 10),
    ]  # fmt: skip
    assert [shards.groups_of(one) for one in ([], [5], [2**30] * 3, [2**28] * 8, [2**40] * 500)] == [0, 1, 3, 2, 40]


def test_a_lost_shard_is_written_again_and_no_other(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    done = planned(study, tmp_path / "store").run()
    before = files(done.store)
    times = {path: path.stat().st_mtime_ns for path in done.store.root.glob("shard/*/record.json")}
    lost = done.record("prose")["shards"][1]
    for path in (done.store.root / lost).iterdir():
        path.unlink()
    for path in sorted(done.store.local_folder(done.plan.tokens["prose"]).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert groups(done.plan, done.store, done.corpora) == 1
    done.run()
    assert files(done.store) == before
    for path, time in times.items():
        assert (path.stat().st_mtime_ns == time) == (lost not in str(path))
    assert groups(done.plan, done.store, done.corpora) == 0


def test_a_new_file_at_the_end_makes_only_its_own_shard(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    study["tokenizer"] = {"folder": str(planned(study, tmp_path / "first").run().store.root / "tokenizer_copy")}
    (copied := Path(study["tokenizer"]["folder"])).mkdir()
    for path in (tmp_path / "first" / "tokenizer").glob("*/tokenizer*.json"):
        (copied / path.name).write_bytes(path.read_bytes())
    first = planned(study, tmp_path / "store").run()
    extra = "".join(json.dumps({"text": f"{text} again"}) + "\n" for text in TEXTS)
    (tmp_path / "lines" / "c.jsonl").write_text(extra)
    monkeypatch.setattr("switchpoint.components.data.corpus_input.SAMPLE_BYTES", 100_000)
    assert first.corpora != {}
    second = planned(study, tmp_path / "store")
    old, new = set(first.record("prose")["shards"]), set(second.run().record("prose")["shards"])
    if first.corpora[str(tmp_path / "lines")].heldout_below == second.corpora[str(tmp_path / "lines")].heldout_below:
        assert old < new


def test_a_difference_of_the_fast_engine_is_reported_and_the_shard_done_again(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = planned(study, tmp_path / "right").run()
    (record,) = [right.store.record(one) for one in [shards.shards_of(right.plan, right.corpora, "prose")[0].identity]]
    assert record is not None
    assert record["environment"]["engine"] == "fastokens"
    assert int(record["environment"]["compared_documents"]) > 10

    class Wrong:
        def __init__(self, fast: Any) -> None:
            self.fast = fast

        def encode_batch_flat(self, texts: list[str], **options: bool) -> tuple[bytes, bytes]:
            ids, offsets = self.fast.encode_batch_flat(texts, **options)
            changed = np.frombuffer(ids, "<u4").copy()
            changed[5] += 1
            return changed.tobytes(), offsets

    whole = FastEncoder.__init__

    def spoiled(self: FastEncoder, *arguments: Any) -> None:
        whole(self, *arguments)
        self.fast = Wrong(self.fast)

    monkeypatch.setattr(FastEncoder, "__init__", spoiled)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    other = planned(study, tmp_path / "other").run()
    assert files(other.store) == files(right.store)
    record = other.store.record(shards.shards_of(other.plan, other.corpora, "prose")[0].identity)
    assert record is not None
    assert record["environment"]["engine"] == "tokenizers"
    assert "fastokens differs from tokenizers" in record["environment"]["engine_difference"]
    (note,) = [line for line in left_out(other.plan, other.store) if "prose" in line]
    assert note.startswith("1 shards of prose were tokenised again by tokenizers: fastokens differs")
    assert left_out(right.plan, right.store) == []


def test_both_engines_give_the_same_ids_and_a_sample_is_compared_all_along(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = planned(study, tmp_path / "store").run()
    monkeypatch.setattr(encoder, "FIRST_CHARACTERS", 10_000)
    folder = done.store.local_folder(done.plan.tokenizer)
    fast, reference = open_encoder(folder), ReferenceEncoder(folder)
    assert isinstance(fast, FastEncoder)
    compared = []
    for start in range(0, len(TEXTS), 10):
        texts = [*TEXTS[start : start + 10], "ü € 漢字 \U0001f600", "<|endoftext|> in a text"]
        one, other = fast.encode(texts), reference.encode(texts)
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.ends, other.ends)
        compared.append(fast.compared_documents)
    assert compared[-1] > compared[-2] > compared[-3] > 0
    assert compared[-1] - compared[-2] == 1


def test_a_tokenizer_that_begins_documents_itself(study: dict[str, Any], tmp_path: Path) -> None:
    done = planned(study, tmp_path / "store").run()
    folder = tmp_path / "with_bos"
    folder.mkdir()
    source = done.store.local_folder(done.plan.tokenizer)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens(["<s>"])
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes((source / "tokenizer_config.json").read_bytes())
    study["tokenizer"] = {"folder": str(folder)}
    assert leading_ids(tokenizer) == [begin]
    with_begin = planned(study, tmp_path / "other").run()
    plain, whole = done.tokens("prose"), with_begin.tokens("prose")
    end = load_tokenizer(source)[1]
    wanted = [token for document in _documents(plain, end) for token in [begin, *document]]
    assert whole == wanted


def _documents(tokens: list[int], end: int) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for token in tokens:
        found[-1].append(token)
        if token == end:
            found.append([])
    return found[:-1]


def test_tiers_are_parts_of_the_same_token_files(study: dict[str, Any], tmp_path: Path) -> None:
    study["sources"]["prose"]["tiers"] = {
        "first": {"tokens": 10_000, "documents": "a.jsonl#*"}, "odd": {"tokens": 10_000, "documents": "*[13579]"},
    }  # fmt: skip
    study["blends"] = {
        "prose": {"prose": {"weight": 0.5, "tier": "first"}, "answers": 0.5},
        "mixed": {"prose": {"weight": 0.7, "tier": "odd"}, "answers": 0.3},
    }
    done = planned(study, tmp_path / "store").run()
    trained, first, odd = set(done.decoded("prose")), set(done.decoded("prose@first")), set(done.decoded("prose@odd"))
    heldout = set(done.heldout("prose"))
    assert trained == set(TEXTS) - heldout
    assert first == set(TEXTS[:40]) - heldout
    assert odd == {text for number, text in enumerate(TEXTS) if number % 2 == 0} - heldout
    sizes = done.record("prose")["tokens"]
    assert sum(path.stat().st_size for path in done.store.root.glob("shard/*/*.bin")) // 2 == (
        sizes["all"] + done.record("answers")["tokens"]["all"]
    )


def test_what_cannot_be_read_is_refused_or_counted_and_listed(study: dict[str, Any], tmp_path: Path) -> None:
    lines = tmp_path / "lines" / "b.jsonl"
    lines.write_text(lines.read_text() + '{"text": "cut off\n{"txt": "other"}\n')
    with pytest.raises(BadInput, match=r"b\.jsonl:21: sources\.prose\.folder: not JSON"):
        planned(study, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    study["sources"]["prose"]["on_error"] = "skip"
    done = planned(study, tmp_path / "store").run()
    record = done.record("prose")
    assert record["skipped"] == {"not JSON": 1, "the text field is missing": 1}
    assert [place.split(": ")[0] for place in record["skipped_places"]] == [f"{lines}:21", f"{lines}:22"]
    assert record["documents"] + record["heldout_documents"] == len(TEXTS)


def test_what_is_found_late_leaves_no_shard(study: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    lines = tmp_path / "lines" / "b.jsonl"
    lines.write_text(lines.read_text() + '{"text": "cut off\n')
    monkeypatch.setattr("switchpoint.components.data.corpus_input.SAMPLE_BYTES", 1_000)
    begun = planned(study, tmp_path / "store")
    train = Path(study["sources"]["answers"]["folder"])
    with pytest.raises(BadInput, match=r"b\.jsonl:21"):
        begun.run()
    failure = begun.store.failure(begun.plan.tokens["prose"])
    if failure is not None:  # the tokenizer's training may have met it first
        assert failure["bad_input"]
    assert train.exists()
    assert not begun.store.is_done(begun.plan.tokens["prose"])
    assert not list(begun.store.root.glob("shard/.*"))


def test_a_group_forgets_the_failures_of_other_runs_only(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its siblings in the loop may have failed before it began."""
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)
    tokens = begun.plan.tokens["prose"]
    monkeypatch.setattr("switchpoint.components.data.groups.write_shards", lambda works: [])
    monkeypatch.setenv("KFP_RUN_ID", "run-a")
    begun.store.write_failure(tokens, "a shard of another group is broken", "log")
    tokenise_group(begun.plan, begun.store, begun.corpora, 0, 1)
    assert begun.store.failure(tokens) is not None
    monkeypatch.setenv("KFP_RUN_ID", "run-b")
    tokenise_group(begun.plan, begun.store, begun.corpora, 0, 1)
    assert begun.store.failure(tokens) is None


def test_a_source_that_is_whole_has_not_failed(study: dict[str, Any], tmp_path: Path) -> None:
    """Another study has written the shard that failed here."""
    done = planned(study, tmp_path / "store").run()
    done.store.write_failure(done.plan.tokens["prose"], "no memory", "log")
    build_blends(done.plan, done.store, done.corpora)
    assert done.store.failure(done.plan.tokens["prose"]) is None


def test_text_that_changed_after_it_was_planned_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)
    lines = tmp_path / "lines" / "a.jsonl"
    lines.write_text(lines.read_text() + lines.read_text())
    with pytest.raises(BadInput, match="the text has changed since it was planned"):
        tokenise_group(begun.plan, begun.store, begun.corpora, 0, 1)
    assert not begun.store.is_done(begun.plan.tokens["prose"])


def test_a_full_disk_leaves_nothing_that_is_taken_for_whole(study: dict[str, Any], tmp_path: Path) -> None:
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # EFBIG instead of ENOSPC: the same error to the writer
    try:
        with pytest.raises(OSError, match="too large"):
            tokenise_group(begun.plan, begun.store, begun.corpora, 0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in begun.store.root.glob("shard/*") if path.name.startswith(".")]
    assert begun.run().decoded("prose")


def test_a_killed_worker_leaves_nothing_that_is_taken_for_whole(study: dict[str, Any], tmp_path: Path) -> None:
    """Killed as the first bytes of tokens are written, then run again."""
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)
    code = (
        "import os, sys, json, signal, pickle; from switchpoint.components.data import tokenise, token_file\n"
        "token_file.TokenWriter.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "tokenise.write_shard(pickle.load(open(sys.argv[1], 'rb')))"
    )
    import pickle

    from switchpoint.components.data.tokenise import shard_work

    shard = shards.shards_of(begun.plan, begun.corpora, "prose")[0]
    (tmp_path / "work").write_bytes(pickle.dumps(shard_work(begun.plan, begun.store, begun.corpora, shard)))
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "work")], check=False)
    assert ended.returncode == -9
    assert list(begun.store.root.glob("shard/.*"))
    assert not begun.store.is_done(shard.identity)
    begun.run()
    assert not list(begun.store.root.glob("shard/.*"))


def test_equal_documents_fall_on_one_side_in_every_source(study: dict[str, Any], tmp_path: Path) -> None:
    """The document with the largest hash is trained on, the one with the smallest held out, wherever they stand."""
    last, first = max(TEXTS, key=document_hash), min(TEXTS, key=document_hash)
    (tmp_path / "answers" / "last.txt").write_text(last)
    (tmp_path / "answers" / "first.txt").write_text(first)
    done = planned(study, tmp_path / "store").run()
    for source in ("prose", "answers"):
        assert last in done.decoded(source)
        assert first in done.heldout(source)


def test_tokens_of_megatron_are_used_in_place(study: dict[str, Any], tmp_path: Path) -> None:
    first = planned(study, tmp_path / "store").run()
    shard = first.store.root / first.record("prose")["shards"][0]
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in first.store.local_folder(first.plan.tokenizer).glob("tokenizer*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    prefix = tmp_path / "megatron" / "corpus.v2"
    prefix.parent.mkdir()
    for suffix in (".bin", ".idx"):
        prefix.with_name(prefix.name + suffix).write_bytes((shard / f"all{suffix}").read_bytes())
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "v.txt").write_text(TEXTS[0])
    study["tokenizer"] = {"folder": str(folder)}
    study["sources"]["prose"] = {"token_file": str(prefix), "heldout": str(tmp_path / "valid")}
    done = planned(study, tmp_path / "other").run()
    assert done.tokens("prose") == first.tokens("prose")
    assert done.heldout("prose") == [TEXTS[0]]
    assert not list(done.store.root.glob(f"shard/{Path(done.record('prose')['shards'][0]).name}/*.bin"))

    bin_file = prefix.with_name(prefix.name + ".bin")
    tokens = np.fromfile(bin_file, "<u2")
    tokens[77] = 9_999
    tokens.tofile(bin_file)
    with pytest.raises(BadInput, match="a token id beyond the vocabulary") as error:
        planned(study, tmp_path / "third")
    assert "id 9,999 at token 77 (byte 154)" in str(error.value)
    bin_file.write_bytes(bin_file.read_bytes()[:-2])
    with pytest.raises(BadInput, match=r"shorter than its \.idx says"):
        planned(study, tmp_path / "third")
    # Tokens that moved are the same tokens, and are read where they lie now.
    bin_file.write_bytes((shard / "all.bin").read_bytes())
    for suffix in (".bin", ".idx"):
        prefix.with_name(prefix.name + suffix).rename(prefix.with_name(f"moved{suffix}"))
    study["sources"]["prose"]["token_file"] = str(prefix.with_name("moved"))
    moved = planned(study, tmp_path / "other").run()
    assert moved.plan.tokens["prose"] == done.plan.tokens["prose"]
    assert moved.tokens("prose") == first.tokens("prose")
    study["sources"]["prose"]["token_file"] = str(shard / "all")
    with pytest.raises(BadInput, match="tokens of another tokenizer"):
        planned(study, tmp_path / "third")
    assert read_token_file(shard / "all").document_lengths.sum() == len(first.tokens("prose"))


def test_documents_are_whole_whatever_the_tokenizers_folder_says_of_inputs(
    study: dict[str, Any], tmp_path: Path
) -> None:
    """Folders of models often carry truncation and padding."""
    done = planned(study, tmp_path / "store").run()
    folder = done.store.local_folder(done.plan.tokenizer)
    cut = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cut.enable_truncation(8)
    cut.enable_padding(length=50)
    (tmp_path / "cut").mkdir()
    cut.save(str(tmp_path / "cut" / "tokenizer.json"))
    (tmp_path / "cut" / "tokenizer_config.json").write_bytes((folder / "tokenizer_config.json").read_bytes())
    for made in (FastEncoder, ReferenceEncoder):
        whole, other = made(folder).encode(TEXTS[:5]), made(tmp_path / "cut").encode(TEXTS[:5])
        assert np.array_equal(whole.ids, other.ids)
        assert np.array_equal(whole.ends, other.ends)


def test_long_documents_are_compared_in_every_batch(study: dict[str, Any], tmp_path: Path) -> None:
    done = planned(study, tmp_path / "store").run()
    fast = FastEncoder(done.store.local_folder(done.plan.tokenizer))
    compared = []
    for _ in range(5):
        fast.encode(["".join(TEXTS[:40])])
        compared.append(fast.compared_documents)
    assert compared == [1, 2, 3, 4, 5]


def test_copies_are_the_same_documents_for_an_engine_that_takes_shorter_ones(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that is too long for the engine is counted by both readings."""
    lines = ["word " * 40_000, TEXTS[1], TEXTS[2], TEXTS[1], TEXTS[3]]
    (tmp_path / "lines" / "b.jsonl").unlink()
    (tmp_path / "lines" / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    study["sources"]["prose"] = {"folder": str(tmp_path / "lines"), "deduplicate": "exact", "on_error": "skip"}
    monkeypatch.setattr(FastEncoder, "max_document_bytes", 100_000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    done = planned(study, tmp_path / "store")
    from switchpoint.components.data.duplicates import find_duplicates

    find_duplicates(done.plan, done.store, done.corpora, "prose")
    done.run()
    assert sorted([*done.decoded("prose"), *done.heldout("prose")]) == sorted([TEXTS[1], TEXTS[2], TEXTS[3]])
    assert done.record("prose")["dropped"] == {"duplicate": 1}
    assert list(done.record("prose")["skipped"].values()) == [1]


@pytest.mark.parametrize("rule", [{"deduplicate": "exact"}, {"filters": ["c4_quality"]}])
def test_scores_on_other_heldout_documents_are_other_scores(
    study: dict[str, Any], tmp_path: Path, rule: dict[str, Any]
) -> None:
    """Also of a model that saw none of the source."""
    before = planned(study, tmp_path / "store").plan
    study["sources"]["answers"] |= rule
    after = planned(study, tmp_path / "store").plan
    assert before.base == after.base
    assert before.base_evaluation != after.base_evaluation


def test_an_error_of_reading_is_no_document_to_skip(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study["sources"]["prose"]["on_error"] = "skip"
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)
    whole = readers.open_file

    class Breaks(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 50_000:
                raise TimeoutError("the network went away")
            return super().readline(size)

    monkeypatch.setattr(readers, "open_file", lambda *place: Breaks(whole(*place).read()))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(TimeoutError):
        tokenise_group(begun.plan, begun.store, begun.corpora, 0, 1)
    monkeypatch.setattr(readers, "open_file", whole)
    assert set(begun.run().decoded("prose")) | set(begun.heldout("prose")) == set(TEXTS)


def test_a_tier_called_all_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    study["sources"]["prose"]["tiers"] = {"all": {"tokens": 10_000}}
    with pytest.raises(BadInput, match="a tier cannot be called `all`"):
        planned(study, tmp_path / "store")
