"""What a job does with a store that has some of its checkpoints, without training or other processes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from switchpoint.components.train import job_checkpoints
from switchpoint.components.train.checkpoint import DamagedCheckpoint
from switchpoint.components.train.job_checkpoints import JobCheckpoints, Resumed


@dataclass
class Store:
    """Steps of checkpoints and models, and what was done."""

    complete: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    """Those of the complete that tell their weights' digest."""
    models: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    done: list[Any] = field(default_factory=list)

    def steps_in(self, place: str) -> list[int]:
        return sorted(self.complete)

    def is_kept(self, place: str, step: int) -> bool:
        return step in self.kept & self.complete

    def has_model(self, place: str, step: int) -> bool:
        return step in self.models

    def newest_intact(self, place: str, steps: list[int]) -> int | None:
        for step in reversed(steps):
            if step not in self.damaged:
                return step
            self.complete.remove(step)
        return None

    def load_checkpoint(self, place: str, model: Any, optimizer: Any) -> dict[str, Any]:
        self.done.append(("load", place, optimizer))
        return {"skipped_steps": 2}

    def export(self, model: Any, weights: Any, folder: Path, tokenizer: Path, base: Path | None) -> None:
        self.done.append(("export", folder.name, weights))


class Writer:
    """In place of a CheckpointWriter."""

    def __init__(self, store: Store) -> None:
        self.store, self.last_good = store, None

    def save(self, step: int, model: Any, optimizer: Any, facts: dict[str, Any]) -> None:
        self.store.done.append(("save", step, facts))

    def wait(self) -> None:
        self.store.done.append("wait")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    for name in ("steps_in", "is_kept", "has_model", "newest_intact", "load_checkpoint", "export"):
        monkeypatch.setattr(job_checkpoints, name, lambda *given, name=name: getattr(made, name)(*given))
    monkeypatch.setattr(job_checkpoints, "CheckpointWriter", lambda *_: Writer(made))
    monkeypatch.setattr(job_checkpoints, "apply_settings", lambda *given: made.done.append(("settings", *given)))
    monkeypatch.setattr(job_checkpoints, "full_state", lambda _: {"weight": torch.ones(1)})
    monkeypatch.setattr(job_checkpoints, "find_damage_together", lambda place: "cut" if "damaged" in place else "")
    return made


def checkpoints(
    folder: Path, keep: list[int], export: Sequence[int] = (), ranks: Any = None, **fields: Any
) -> JobCheckpoints:
    job: Any = SimpleNamespace(
        folder="run", keep_steps=keep, export_steps=export, end_step=max([*keep, *export]), start_step=0,
        start="scratch", start_checkpoint="", model_config_folder="", tokenizer="",
        training=SimpleNamespace(keep_checkpoints=3),
        settings=SimpleNamespace(optimizer="the job's settings"),
    )  # fmt: skip
    vars(job).update(fields)
    alone: Any = SimpleNamespace(rank=0, agree=lambda value: value)
    model: Any = "model"
    optimizer: Any = "optimizer"
    return JobCheckpoints(job, ranks or alone, folder, model, optimizer, lambda: None)


def loaded(step: int) -> tuple[str, str, str]:
    return ("load", f"run/checkpoints/step-{step:08d}", "optimizer")


def test_it_resumes_before_the_first_missing_step_and_writes_what_is_not_kept(tmp_path: Path, store: Store) -> None:
    """A run that was trained to 40 lacks step 15 of a new arm, and the digest at 20."""
    store.complete, store.kept = {10, 20, 40}, {10, 40}
    one = checkpoints(tmp_path, [10, 15, 20, 40])
    assert one.resume() == Resumed(10, {"skipped_steps": 2})
    assert store.done == [loaded(10)]
    assert one.writer.last_good == 10
    assert one.missing.end_step == 20
    assert [step for step in range(41) if one.must_save(step)] == [15, 20]


@pytest.mark.parametrize(("start", "optimizer"), [("new_data", "optimizer"), ("fresh", None)])
def test_without_a_checkpoint_it_loads_what_the_job_starts_from(
    tmp_path: Path, store: Store, start: str, optimizer: str | None
) -> None:
    store.complete = store.kept = {30, 35}
    one = checkpoints(tmp_path, [30, 40], start=start, start_checkpoint="gb/24", start_step=24)
    assert one.resume() == Resumed(35, {"skipped_steps": 2})
    store.done.clear()
    one = checkpoints(tmp_path, [26, 40], start=start, start_checkpoint="gb/24", start_step=24)
    assert one.resume() == Resumed(24, {})
    assert store.done == [("load", "gb/24", optimizer), ("settings", "optimizer", "the job's settings")]
    with pytest.raises(DamagedCheckpoint, match="what the run starts from is damaged: cut, in gb/damaged"):
        checkpoints(tmp_path, [26], start_checkpoint="gb/damaged").resume()


def test_it_skips_to_the_newest_intact_checkpoint(tmp_path: Path, store: Store) -> None:
    store.complete = store.kept = {10, 20, 30}
    store.damaged = {30}
    one = checkpoints(tmp_path, [5, 30, 40])
    one.resume()
    assert one.skip_ahead(4) is None
    assert one.skip_ahead(5) == Resumed(20, {"skipped_steps": 2})
    assert store.done == ["wait", loaded(20)]
    assert one.must_save(30)  # set aside meanwhile


def test_where_all_that_lies_ahead_is_damaged_it_is_trained_and_written_again(tmp_path: Path, store: Store) -> None:
    store.complete, store.kept, store.damaged = {10, 30}, {10, 30}, {10, 30}
    one = checkpoints(tmp_path, [5, 10, 30, 40])
    assert one.resume() == Resumed(0, {})
    assert [step for step in range(41) if one.must_save(step)] == [5, 40]
    assert one.skip_ahead(5) is None
    assert store.done == ["wait"]
    assert [step for step in range(6, 41) if one.must_save(step)] == [10, 30, 40]


def test_requested_checkpoints_have_a_digest_and_kept_ones_are_not_written_again(tmp_path: Path, store: Store) -> None:
    store.complete, store.kept = {10}, {10}
    one = checkpoints(tmp_path, [5, 10], [20])
    one.resume()
    for step in (5, 7, 10, 20):
        one.save(step, {"world_size": 1})
    (save_5, save_7, save_20, export_20) = store.done
    assert [save[1] for save in (save_5, save_7, save_20)] == [5, 7, 20]
    assert ["weights_sha256" in save[2] for save in (save_5, save_7, save_20)] == [True, False, True]
    assert export_20[:2] == ("export", "step-00000020")


def test_a_model_that_is_missing_is_exported_once(tmp_path: Path, store: Store) -> None:
    store.complete, store.kept = {20}, {20}
    one = checkpoints(tmp_path, [20, 30], [20])
    one.resume()
    assert one.missing.steps == (20, 30)
    assert not one.must_save(20)
    for step in (10, 20):
        one.export_if_missing(step)
    store.models.add(20)
    one.export_if_missing(20)
    assert [done[:2] for done in store.done[1:]] == [("export", "step-00000020")]


def test_other_processes_take_the_answers_of_the_first(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may see the store a moment later. It asks nothing, gathers as often, and exports nothing."""
    answers: list[Any] = [[20, 40], [10, 20], [20], False]
    asked: list[Any] = []
    for name in ("steps_in", "is_kept", "has_model"):
        monkeypatch.setattr(job_checkpoints, name, lambda *given: asked.append(given))
    gathered: list[int] = []
    monkeypatch.setattr(job_checkpoints, "full_state", lambda _: gathered.append(1) or {})
    ranks = SimpleNamespace(rank=1, agree=lambda own: asked.append(own) if own else answers.pop(0))
    one = checkpoints(tmp_path, [20, 40], [20], ranks)
    assert one.resume().step == 20
    assert one.missing.steps == (20, 40)
    assert not one.must_save(20)
    one.export_if_missing(20)
    assert gathered == [1]
    assert store.done == [loaded(20)]
    assert not asked
    assert not answers
