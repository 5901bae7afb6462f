"""Text is generated from a model in the store: the same bytes each time, and however it is cut off."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from switchpoint.components.data.documents import read_documents
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, byte_level_bpe
from switchpoint.components.generate import app, run
from switchpoint.components.generate.app import Generator
from switchpoint.components.generate.run import GenerationFailed, generate_text
from switchpoint.components.launch.job import JobEnd, JobRequest
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from tests.components.recipe.test_bases import planned

TOKENS = 5_000
"""Three shards of 64 x 32 tokens at most."""
Launch = Callable[[JobRequest], JobEnd]


@pytest.fixture
def plan(study: dict[str, Any]) -> Plan:
    study["sources"]["own"] = {"generate": {"from": "base", "tokens": TOKENS}}
    return planned(study, blends=study["blends"] | {"fed": {"prose": 0.75, "own": 0.25}}, gb="fed")


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    """A store with a tokenizer and the base's model, with random weights and 8 rows that are no tokens."""
    store = Store(tmp_path / "store")
    folder = store.local_folder(plan.tokenizer)
    folder.mkdir(parents=True)
    byte_level_bpe(iter(["some text to begin with"]), 280).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END_OF_DOCUMENT}))
    base = plan.bases["base"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=288, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(store.local_folder(base.output.identity) / "models" / f"step-{base.step:08d}")
    return store


def run_here(request: JobRequest, num_processes: int = 1) -> JobEnd:
    """Run the job's processes one after the other, in this one."""
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(num_processes):
            patch.setattr(sys, "argv", ["app", *request.arguments])
            patch.setitem(os.environ, "RANK", str(rank))
            patch.setitem(os.environ, "WORLD_SIZE", str(num_processes))
            app.main()
    return JobEnd(succeeded=True, log=Path("log"))


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "die_with_parent", lambda: None)
    monkeypatch.setattr(run, "run_job", run_here)


def text_of(plan: Plan, store: Store) -> bytes:
    return (store.local_folder(plan.generations["own"].identity) / "train" / "text.jsonl").read_bytes()


@pytest.fixture
def whole(plan: Plan, store: Store) -> bytes:
    """The text of a run that nothing cuts off; it is gone from the store."""
    generate_text(plan, store, plan.generations["own"])
    text = text_of(plan, store)
    store.remove(plan.generations["own"].identity.path)
    return text


def test_the_text_is_an_output_with_what_was_sampled(plan: Plan, store: Store) -> None:
    output = plan.generations["own"]
    generate_text(plan, store, output)
    record = store.record(output.identity)
    assert record is not None
    facts, documents = record["outputs"], list(read_documents(store.root / output.identity.path / "train/text.jsonl"))
    assert facts["sampled_tokens"] == TOKENS
    assert facts["documents"] == len(documents) > TOKENS / 32
    assert facts["bytes"] == sum(len(document.text.encode()) for document in documents)
    assert 0 < facts["ended_documents"] < facts["documents"] + facts["empty_documents"]
    assert END_OF_DOCUMENT not in "".join(document.text for document in documents)
    assert not list((store.root / "jobs").glob("*"))
    before = text_of(plan, store), (store.root / output.identity.path / "record.json").stat().st_mtime_ns
    generate_text(plan, store, output)
    assert before == (text_of(plan, store), (store.root / output.identity.path / "record.json").stat().st_mtime_ns)


@pytest.mark.parametrize("num_processes", [1, 2, 5])
def test_the_bytes_do_not_depend_on_the_processes(
    plan: Plan, store: Store, whole: bytes, monkeypatch: pytest.MonkeyPatch, num_processes: int
) -> None:
    monkeypatch.setattr(run, "run_job", lambda request: run_here(request, num_processes))
    generate_text(plan, store, plan.generations["own"])
    assert text_of(plan, store) == whole


def test_an_interrupted_generation_keeps_its_shards_and_ends_with_the_same_bytes(
    plan: Plan, store: Store, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    sample = Generator.shard

    def cut_off(self: Generator, number: int, num_tokens: int) -> dict[str, Any]:
        if len(made) == 1:
            made.append(-1)
            raise KeyboardInterrupt
        made.append(number)
        return sample(self, number, num_tokens)

    monkeypatch.setattr(Generator, "shard", cut_off)
    output = plan.generations["own"]
    with pytest.raises(KeyboardInterrupt):
        generate_text(plan, store, output)
    assert not store.is_done(output.identity)
    generate_text(plan, store, output)
    assert made == [0, -1, 1, 2]
    assert text_of(plan, store) == whole


def test_a_job_that_is_killed_is_started_again_for_what_is_missing(
    plan: Plan, store: Store, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [2, 1, 0]

    def one_at_a_time(request: JobRequest) -> JobEnd:
        """Leave one shard more than the last one did, then be killed."""
        sampled = Generator.shard
        with monkeypatch.context() as patch:
            made: list[int] = []

            def first(self: Generator, number: int, num_tokens: int) -> dict[str, Any]:
                if made:
                    raise KeyboardInterrupt
                made.append(number)
                return sampled(self, number, num_tokens)

            patch.setattr(Generator, "shard", first)
            try:
                return run_here(request)
            except KeyboardInterrupt:
                assert missing.pop(0) == 2 - made[0]
                return JobEnd(succeeded=False, killed_by="SIGKILL", log=Path("log"))

    monkeypatch.setattr(run, "run_job", one_at_a_time)
    generate_text(plan, store, plan.generations["own"])
    assert text_of(plan, store) == whole


def test_a_job_that_never_comes_further_fails_with_its_reason(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def killed(_: JobRequest) -> JobEnd:
        tries.append(1)
        return JobEnd(succeeded=False, killed_by="SIGKILL", log=Path("log"))

    monkeypatch.setattr(run, "run_job", killed)
    with pytest.raises(GenerationFailed, match=r"killed \(SIGKILL.*3 shards of 3 are missing"):
        generate_text(plan, store, plan.generations["own"])
    assert len(tries) == 1 + plan.recipe.training.max_restarts


def test_what_a_retry_does_not_help_fails_at_once(
    plan: Plan, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "stderr.log"
    log.write_text("Traceback (most recent call last):\n  File x\nValueError: no such model\n")
    tries = []

    def failed(_: JobRequest) -> JobEnd:
        tries.append(1)
        return JobEnd(succeeded=False, log=log)

    monkeypatch.setattr(run, "run_job", failed)
    with pytest.raises(GenerationFailed, match="ValueError: no such model"):
        generate_text(plan, store, plan.generations["own"])
    assert len(tries) == 1
    failure = store.failure(plan.generations["own"].identity)
    assert failure is not None
    assert failure["log"] == str(log)


def test_without_its_base_there_is_no_text(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "empty")
    store.write_failure(plan.bases["base"].output.identity, "loss is nan at step 3", "log")
    with pytest.raises(GenerationFailed, match="the base base that generates own is missing: loss is nan at step 3"):
        generate_text(plan, store, plan.generations["own"])


def test_documents_without_text_are_left_out_and_counted(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {"texts": ["one", "", "two"], "tokens": 9, "ended": 3}
    monkeypatch.setattr(Generator, "shard", lambda *_: empty)
    generate_text(plan, store, plan.generations["own"])
    record = store.record(plan.generations["own"].identity)
    assert record is not None
    assert (record["outputs"]["documents"], record["outputs"]["empty_documents"]) == (6, 3)
    store.remove(plan.generations["own"].identity.path)
    monkeypatch.setattr(Generator, "shard", lambda *_: empty | {"texts": [""]})
    with pytest.raises(GenerationFailed, match="every document of own is empty"):
        generate_text(plan, store, plan.generations["own"])


def test_other_settings_and_weights_give_other_text(study: dict[str, Any], plan: Plan, store: Store) -> None:
    """The store's models are those of the plan's base."""

    def generate(**changes: Any) -> bytes:
        study["sources"]["own"]["generate"] = {"from": "base", "tokens": 600} | changes
        changed = planned(study, blends=study["blends"] | {"fed": {"prose": 0.75, "own": 0.25}}, gb="fed")
        generate_text(changed, store, changed.generations["own"])
        text = text_of(changed, store)
        store.remove(changed.generations["own"].identity.path)
        return text

    first = generate()
    assert generate() == first
    assert len({first, generate(seed=1), generate(temperature=0.3)}) == 3
    base = plan.bases["base"]
    folder = store.local_folder(base.output.identity) / "models" / f"step-{base.step:08d}"
    model = LlamaForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data += 1.0 * torch.randn_like(model.lm_head.weight)
    model.save_pretrained(folder)
    assert generate() != first
