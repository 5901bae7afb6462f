"""What the task `plan` writes, and what it leaves alone."""

from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.data.groups import missing_shards
from switchpoint.components.data.shards import read_corpora
from switchpoint.components.plan.reasons import reasons
from switchpoint.components.plan.run import check_study, write_plan
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.report.outcome import failures_of
from switchpoint.components.store.plan_file import load_plan, plan_failure, plan_reference
from switchpoint.components.store.store import Store


def test_the_plan_of_another_study_forgets_no_failure(study: dict[str, Any], tmp_path: Path) -> None:
    """Both have the arm; the other study may never come to it."""
    first = load_plan(write_plan(absolute(study, tmp_path), tmp_path / "store", "first.yaml"))
    run = first.plan.arm("switched").runs[-1]
    first.store.write_failure(run, "loss is nan at step 7", "log")
    before = [(one.name, one.reason) for one in failures_of(first.plan, first.store)]
    assert any(reason.endswith("loss is nan at step 7") for _, reason in before)
    other = load_plan(
        write_plan(absolute(study, tmp_path) | {"name": "other", "question": "Another?"}, tmp_path / "store", "other")
    )
    assert run in other.plan.arm("switched").runs
    assert [(one.name, one.reason) for one in failures_of(first.plan, first.store)] == before


def test_what_is_made_is_compared_with_the_last_plan_of_the_same_study_only(
    study: dict[str, Any], tmp_path: Path
) -> None:
    study = absolute(study, tmp_path)
    store = Store(tmp_path / "store")

    def made(study: dict[str, Any]) -> None:
        plan = load_plan(write_plan(study, tmp_path / "store", "recipe.yaml")).plan
        for run in plan.gb_runs:
            store.local_folder(run.identity).mkdir(parents=True)
            store.write_record(run.identity, store.local_folder(run.identity), {})

    made(study | {"name": "other", "sequence_length": 64})
    changed, _ = check_study(study | {"sequence_length": 16}, "recipe.yaml", store.root)
    missing = [run.identity for run in changed.gb_runs]
    assert reasons(changed, store, missing) == {}
    made(study | {"seed": 7})
    made(study)
    for _ in range(2):  # also after it was planned itself
        (said,) = {tuple(fields) for fields in reasons(changed, store, missing).values()}
        assert any("sequence_length: 32 -> 16" in field for field in said)
        assert not any("seed" in field or "64" in field for field in said)
        write_plan(study | {"sequence_length": 16}, tmp_path / "store", "recipe.yaml")


def test_why_there_is_no_plan_is_kept_until_there_is_one(study: dict[str, Any], tmp_path: Path) -> None:
    study = absolute(study, tmp_path)
    reference = plan_reference(study, Store(tmp_path / "store"))
    (tmp_path / "answers").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=r"sources\.answers"):
        write_plan(study, tmp_path / "store", "recipe.yaml")
    reason = plan_failure(reference)
    assert reason is not None
    assert "sources.answers" in reason
    (tmp_path / "elsewhere").rename(tmp_path / "answers")
    assert write_plan(study, tmp_path / "store", "recipe.yaml") == reference
    assert plan_failure(reference) is None


def test_a_store_that_cannot_be_written_hides_no_error(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Store, "write", full)
    (tmp_path / "answers").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=r"sources\.answers"):
        write_plan(absolute(study, tmp_path), tmp_path / "store", "recipe.yaml")


def absolute(study: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The study as the pipeline's parameter."""
    sources = {name: source | {"folder": str(folder / source["folder"])} for name, source in study["sources"].items()}
    return study | {"sources": sources}


def test_what_a_base_generates_is_no_source_without_text_and_is_not_tokenised_before(
    study: dict[str, Any], tmp_path: Path
) -> None:
    study = absolute(study, tmp_path)
    study["sources"]["own"] = {"generate": {"from": "base", "tokens": 2_000}}
    study["blends"]["fed"] = {"prose": 0.75, "own": 0.25}
    planned = load_plan(write_plan(study | {"gb": "fed"}, tmp_path / "store", "recipe.yaml"))
    shards = missing_shards(planned.plan, planned.store, read_corpora(planned.corpora))
    assert {shard.source for shard in shards} == {"prose", "answers"}
    assert planned.plan.tokenised_sources() == ["prose", "answers", "own"]
    study["sources"]["own"]["generate"]["tokens"] = 32
    with pytest.raises(BadInput, match=r"sources\.own: the source is too small for one sample"):
        write_plan(study | {"gb": "fed"}, tmp_path / "store", "recipe.yaml")
