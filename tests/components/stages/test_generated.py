"""What bases generate is made after them, in order, and a failure takes only the runs along that draw it."""

from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.data.documents import Document, read_documents, write_documents
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, byte_level_bpe
from switchpoint.components.evaluate.results import NOT_RUN, rows
from switchpoint.components.generate.run import GenerationFailed
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Output
from switchpoint.components.stages import bases, generated
from switchpoint.components.stages.bases import make_bases
from switchpoint.components.stages.run import train_run
from switchpoint.components.stages.supervise import TrainingFailed
from switchpoint.components.store.store import Store, write_json
from tests.components.recipe.test_bases import other, planned

TEXT = "words that a base has said, one after the other. "


@pytest.fixture
def study(study: dict[str, Any]) -> dict[str, Any]:
    """Two bases; `base` is pretrained on what `teacher` generates, and an arm is trained on what `base` does."""
    small = other(study)
    small["pretrain"]["blend"] = "taught"
    study["sources"] |= {
        "lesson": {"generate": {"from": "teacher", "tokens": 2_000}},
        "own": {"generate": {"from": "base", "tokens": 2_000}},
    }
    study["blends"] |= {"taught": {"lesson": 1}, "fed": {"lesson": 0.5, "own": 0.5}}
    return study | {
        "bases": {"teacher": study["model"]}, "model": small, "gb": "prose", "qb": "prose",
        "arms": {"plain": {"base": "teacher"}, "fed": {"gb": "fed", "base": "teacher"}},
    }  # fmt: skip


@pytest.fixture
def plan(study: dict[str, Any]) -> Plan:
    return planned(study)


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    """A store with the tokenizer and the tokens that are made before the bases."""
    store = Store(tmp_path / "store")
    folder = store.local_folder(plan.tokenizer)
    folder.mkdir(parents=True)
    byte_level_bpe(iter([TEXT]), 300).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"eos_token": END_OF_DOCUMENT})
    return store


def making(monkeypatch: pytest.MonkeyPatch, made: list[str], *, fails: str = "", text: str = TEXT) -> None:
    """Have bases and text made by stand-ins that note what they make, in order."""

    def train(_plan: Plan, _store: Store, output: Output[Any]) -> None:
        made.append(output.identity.path)

    def generate(_plan: Plan, store: Store, output: Output[Any]) -> None:
        if store.is_done(output.identity):
            return
        made.append(output.identity.path)
        if output.stage.source == fails:
            raise GenerationFailed("out of memory")
        with store.output(output.identity) as folder:
            documents = [Document(unit=f"{n}", part="text", text=text * 4) for n in range(20)]
            write_documents(folder / "train" / "text.jsonl", documents)
            store.write_record(output.identity, folder, {"empty_documents": 0})

    monkeypatch.setattr(bases, "train_run", train)
    monkeypatch.setattr(generated, "generate_text", generate)


def blend(plan: Plan, name: str) -> Any:
    return next(phase.blend_identity for phase in plan.blends.values() if phase.blend == name)


def test_text_is_made_between_the_base_that_generates_it_and_the_one_that_draws_it(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    making(monkeypatch, made)
    make_bases(plan, store)
    teacher, base = (plan.bases[name].output.identity.path for name in ("teacher", "base"))
    lesson, own = (plan.generations[name].identity for name in ("lesson", "own"))
    assert made == [teacher, lesson.path, base, own.path]
    for name in ("lesson", "own"):
        record = store.record(plan.tokens[name])
        assert record is not None
        assert record["outputs"]["documents"] == 20
    assert set(store.record(blend(plan, "fed"))["outputs"]["sources"]) == {"lesson", "own"}  # type: ignore[index]
    assert store.is_done(blend(plan, "taught"))
    assert not store.is_done(blend(plan, "prose"))  # the task build_blend's
    written = {path: path.stat().st_mtime_ns for path in store.root.glob("*/*/record.json")}
    make_bases(plan, store)
    assert made == [teacher, lesson.path, base, own.path, teacher, base]  # they skip themselves
    assert {path: path.stat().st_mtime_ns for path in store.root.glob("*/*/record.json")} == written


def test_the_tokens_are_those_of_the_text(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from switchpoint.components.data.remote_tokens import open_tokens
    from switchpoint.components.data.tokenizer import load_tokenizer

    making(monkeypatch, [])
    make_bases(plan, store)
    record = store.record(plan.tokens["own"])
    assert record is not None
    tokenizer, end = load_tokenizer(store.local_folder(plan.tokenizer))
    text = store.local_folder(plan.generations["own"].identity) / "train" / "text.jsonl"
    expected = [[*tokenizer.encode(one.text).ids, end] for one in read_documents(text)]
    (shard,) = record["outputs"]["shards"]
    tokens = open_tokens(store.token_location(f"{shard}/all"))[: record["outputs"]["tokens"]["all"]]
    assert list(tokens) == [token for document in expected for token in document]


def test_text_that_is_not_generated_is_data_and_what_draws_it_says_why(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    making(monkeypatch, [], fails="own")
    make_bases(plan, store)
    failure = store.failure(plan.generations["own"].identity)
    assert failure is not None
    assert failure["reason"] == "GenerationFailed: out of memory"
    assert store.is_done(blend(plan, "taught"))
    store.write_record(plan.tokenizer, store.local_folder(plan.tokenizer), {"vocab_size": 300, "end_of_document": 0})
    run = plan.run(plan.arm("fed").runs[0].digest)
    with pytest.raises(TrainingFailed, match="the blend fed is missing: GenerationFailed: out of memory"):
        train_run(plan, store, run)
    # It is the reason of no other row.
    assert {row.failure for row in rows(plan, store)} == {NOT_RUN}


def test_what_is_too_small_for_a_blend_is_told_by_what_draws_it(
    study: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study["sources"]["own"] |= {"max_epochs": 2, "excess": "refuse"}
    plan = planned(study)
    making(monkeypatch, [])
    monkeypatch.setattr(generated, "write_blends", refuse)
    make_bases(plan, store)
    store.write_record(plan.tokenizer, store.local_folder(plan.tokenizer), {"vocab_size": 300, "end_of_document": 0})
    with pytest.raises(TrainingFailed, match=r"the blend fed is missing: .*too small"):
        train_run(plan, store, plan.run(plan.arm("fed").runs[0].digest))


def refuse(*_: Any) -> None:
    raise RuntimeError("the source is too small")
