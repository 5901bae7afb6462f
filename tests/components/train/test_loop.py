"""Laws 1 and 5 on the loop itself: the same bits however a run is cut, alone or from a shared GB run."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.schedule_config import Cosine
from switchpoint.components.recipe.stage import Train
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.stages.run import _common
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json
from switchpoint.components.train import job_checkpoints
from switchpoint.components.train.checkpoint import checkpoint_path, model_path, steps_in
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.job_checkpoints import JobCheckpoints
from switchpoint.components.train.loop import FINISHED, STOPPED, Trainer
from switchpoint.components.train.metrics import read_metrics

SWITCH, END = 24, 40


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def job(prepared: Planned, folder: Path, **changes: Any) -> TrainJob:
    """GB for 24 steps, QB to step 40, from random weights, unless `changes` say otherwise."""
    plan, store = prepared.plan, prepared.store
    tokenizer = (store.record(plan.tokenizer) or {})["outputs"]
    shape = plan.recipe.model.architecture
    assert shape is not None
    folder.mkdir(parents=True, exist_ok=True)
    switched, mixed = plan.arm("switched").phases, plan.arm("mixed").phases[0]
    phases = (replace(switched[0], first_sample=0), replace(mixed, first_sample=SWITCH * 4))
    stage = Train(
        start="scratch", start_step=0, end_step=END, seed=0, phases=phases, clock=Clock.of(4, 32),
        schedule=Cosine(max_learning_rate=1e-2).pieces(None, END * 128),
    )  # fmt: skip
    fields: dict[str, Any] = {
        "architecture": shape.model_dump() | {"head_width": shape.head_width} | tokenizer,
        "keep_steps": [END], "export_steps": [END], **_common(plan, store, folder, stage, plan.bases[BASE]),
    }  # fmt: skip
    settings = {name: changes.pop(name) for name in StepSettings.model_fields.keys() & changes}
    fields["phases"] = [
        phase.model_copy(update={"settings": phase.settings.model_copy(update=settings)}) for phase in fields["phases"]
    ]
    return TrainJob(**(fields | changes))


def run(one: TrainJob, world_size: int = 1) -> str:
    return Trainer(one, 0, world_size).run()


def weights(folder: Path, step: int) -> str:
    return str(read_json(checkpoint_path(folder, step) / "state.json")["weights_sha256"])


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in read_metrics(folder)]


@pytest.fixture(scope="module")
def alone(prepared: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    assert run(job(prepared, folder)) == FINISHED
    return folder


def test_it_learns(alone: Path) -> None:
    curve = [loss for _, loss in losses(alone)]
    assert len(curve) == END
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 - 0.3


def test_a_run_stopped_at_many_steps_ends_with_the_same_bits(
    prepared: Planned, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM at steps before, at and after the switch; every time a new trainer goes on."""
    one = job(prepared, tmp_path / "cut")
    whole_step = Trainer._train_step
    stops = [1, 7, SWITCH - 1, SWITCH, SWITCH + 1, END - 1]

    def step_then_stop(self: Trainer, batch: Any) -> Any:
        if stops and self.step + 1 == stops[0]:
            stops.pop(0)
            os.kill(os.getpid(), signal.SIGTERM)
        return whole_step(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", step_then_stop)
    ends = []
    while not ends or ends[-1] == STOPPED:
        ends.append(run(one))
    assert ends == [STOPPED] * 6 + [FINISHED]
    assert weights(tmp_path / "cut", END) == weights(alone, END)
    assert losses(tmp_path / "cut") == losses(alone)


def test_a_checkpoint_that_is_wanted_only_afterwards_tells_its_weights(
    prepared: Planned, alone: Path, tmp_path: Path
) -> None:
    """A new arm switches where a run once happened to be stopped."""
    stopped = Trainer(job(prepared, tmp_path / "run"), 0, 1)
    stopped.request_stop()
    assert stopped.run() == STOPPED
    assert "weights_sha256" not in read_json(checkpoint_path(tmp_path / "run", 1) / "state.json")
    assert run(job(prepared, tmp_path / "run", end_step=1, keep_steps=[1], export_steps=[1])) == FINISHED
    assert weights(tmp_path / "run", 1)
    assert model_path(tmp_path / "run", 1).is_dir()
    assert run(job(prepared, tmp_path / "run", keep_steps=[1, END])) == FINISHED
    assert weights(tmp_path / "run", END) == weights(alone, END)
    assert losses(tmp_path / "run") == losses(alone)


@pytest.mark.parametrize("sees_it", [True, False])
def test_processes_gather_the_weights_as_often_whether_they_see_the_export_or_not(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sees_it: bool
) -> None:
    """The first one exports; in an object store the others see it later. A gather that one leaves out never ends."""
    folder = tmp_path / "run"
    stopped = Trainer(job(prepared, folder), 0, 1)
    stopped.request_stop()
    stopped.run()
    trainer = Trainer(job(prepared, folder, end_step=1, keep_steps=[1], export_steps=[1]), 0, 1)
    gathered: list[int] = []
    whole, exported = job_checkpoints.full_state, JobCheckpoints._is_exported
    monkeypatch.setattr(job_checkpoints, "full_state", lambda model: gathered.append(1) or whole(model))
    monkeypatch.setattr(JobCheckpoints, "_is_exported", lambda self, step: sees_it and exported(self, step))
    assert trainer.run() == FINISHED
    assert len(gathered) == 1


def test_what_a_crash_left_half_done_is_done_again(
    prepared: Planned, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash without a checkpoint at that step: metrics beyond the last checkpoint are taken back."""
    folder = tmp_path / "crashed"
    one = job(prepared, folder, keep_steps=[10, END])
    whole_step = Trainer._train_step

    def crash(self: Trainer, batch: Any) -> Any:
        if self.step == 17:
            raise KeyboardInterrupt
        return whole_step(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", crash)
    with pytest.raises(KeyboardInterrupt):
        run(one)
    assert losses(folder)[-1][0] == 17
    (folder / "checkpoints" / ".step-00000017.new").mkdir()  # cut off while it was written
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 18, "lo')
    monkeypatch.setattr(Trainer, "_train_step", whole_step)
    assert run(one) == FINISHED
    assert weights(folder, END) == weights(alone, END)
    assert losses(folder) == losses(alone)
    assert steps_in(folder) == [10, END]


def test_an_arm_from_a_shared_gb_run_has_the_same_bits_as_alone(prepared: Planned, alone: Path, tmp_path: Path) -> None:
    """Law 5: the GB run goes on beyond the switch for another arm; QB starts from its checkpoint at the switch."""
    gb, qb = tmp_path / "gb", tmp_path / "qb"
    gb_phases = job(prepared, gb).phases[:1]
    assert run(job(prepared, gb, phases=gb_phases, keep_steps=[SWITCH, END])) == FINISHED
    start = {"start": "new_data", "start_checkpoint": str(checkpoint_path(gb, SWITCH)), "start_step": SWITCH}
    assert run(job(prepared, qb, **start, model_config_folder=str(model_path(gb, END)))) == FINISHED
    assert weights(qb, END) == weights(alone, END)
    assert losses(gb)[:SWITCH] + losses(qb) == losses(alone)
    assert weights(gb, END) != weights(alone, END)


def test_a_new_switch_inside_a_trained_run_is_kept_and_nothing_else_changes(
    prepared: Planned, alone: Path, tmp_path: Path
) -> None:
    """From the nearest earlier checkpoint, only as far as needed, with the same bits."""
    first, new = tmp_path / "first", [10, 15]
    assert run(job(prepared, first, keep_steps=[10, END])) == FINISHED
    before = losses(first)
    assert run(job(prepared, first, keep_steps=[10, 15, END])) == FINISHED
    assert steps_in(first) == [10, 15, END]
    assert losses(first) == before == losses(alone)
    assert weights(first, END) == weights(alone, END)
    assert run(job(prepared, tmp_path / "both", keep_steps=[*new, END])) == FINISHED
    assert [weights(first, step) for step in new] == [weights(tmp_path / "both", step) for step in new]


def test_what_lies_between_two_missing_steps_and_is_there_is_not_trained_again(
    prepared: Planned, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arms that switch at 5 and at the end of a run that is there from 10 to 30: 5 steps, then 10."""
    folder, trained = tmp_path / "run", []
    run(job(prepared, folder, keep_steps=[10, 30], end_step=30, export_steps=[]))
    whole_step = Trainer._train_step

    def counted(self: Trainer, batch: Any) -> Any:
        trained.append(self.step)
        return whole_step(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", counted)
    assert run(job(prepared, folder, keep_steps=[5, 10, 30, END])) == FINISHED
    assert trained == [*range(5), *range(30, END)]
    assert steps_in(folder) == [5, 10, 30, END]
    assert losses(folder) == losses(alone)
    assert weights(folder, END) == weights(alone, END)


def test_a_new_schedule_takes_weights_and_optimizer_and_starts_at_zero(
    prepared: Planned, alone: Path, tmp_path: Path
) -> None:
    start = {"start": "new_schedule", "start_checkpoint": str(checkpoint_path(alone, END))}
    one = job(prepared, tmp_path / "new", **start, model_config_folder=str(model_path(alone, END)), end_step=1)
    trainer = Trainer(one, 0, 1)
    assert trainer.step == 0
    moments = [state["step"].item() for state in trainer.optimizer.state.values()]
    assert set(moments) == {float(END)}
    from_folder = {"start": "fresh", "start_checkpoint": "", "start_model": str(model_path(alone, END))}
    for changes in (from_folder, {"start": "fresh"}):  # of a folder, and of a checkpoint
        fresh = Trainer(one.model_copy(update=changes), 0, 1)
        assert not fresh.optimizer.state
        for old, new in zip(trainer.model.parameters(), fresh.model.parameters(), strict=True):
            assert torch.equal(old, new)


def test_the_exported_folder_loads_with_the_same_logits(prepared: Planned, alone: Path) -> None:
    folder = model_path(alone, END)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(loaded).__name__ == "LlamaForCausalLM"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 (tied to the embeddings: stored once)
    trainer = Trainer(job(prepared, alone), 0, 1)
    tokens = torch.arange(32)[None]
    assert torch.equal(loaded(tokens).logits, trainer.model(tokens).logits)
    assert AutoTokenizer.from_pretrained(folder).encode("with statement")


@pytest.mark.parametrize("architecture", ["llama", "nemotron"])
def test_the_architectures_of_a_recipe(prepared: Planned, tmp_path: Path, architecture: str) -> None:
    one = job(prepared, tmp_path / "run", end_step=2, keep_steps=[2], export_steps=[])
    changed = one.model_copy(update={"architecture": one.architecture | {"kind": architecture}})
    assert run(changed) == FINISHED
    assert len(losses(tmp_path / "run")) == 2
