"""Checkpoints that are damaged, cannot be written, or are not wanted any more."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from switchpoint.components.recipe.training import Training
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json
from switchpoint.components.train import checkpoint
from switchpoint.components.train.checkpoint import (
    CheckpointFailed,
    DamagedCheckpoint,
    checkpoint_path,
    find_damage,
    steps_in,
)
from switchpoint.components.train.loop import FINISHED, STOPPED, Trainer
from tests.components.train.test_loop import END, job, losses, weights


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def alone(prepared: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    assert Trainer(job(prepared, folder), 0, 1).run() == FINISHED
    return folder


def trained_to(prepared: Planned, folder: Path, step: int) -> Trainer:
    """With checkpoints at 10 and at `step`."""
    trainer = Trainer(job(prepared, folder, keep_steps=[10, step], export_steps=[], end_step=step), 0, 1)
    assert trainer.run() == FINISHED
    return trainer


def cut(file: Path) -> str:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 1)
    return "bytes, not"


def change(file: Path) -> str:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return "was changed"


def remove(file: Path) -> str:
    file.unlink()
    return "is missing"


@pytest.mark.parametrize("spoil", [cut, change, remove])
@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    prepared: Planned, alone: Path, tmp_path: Path, spoil: Any, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    trained_to(prepared, tmp_path, 20)
    problem = spoil(checkpoint_path(tmp_path, 20) / name)
    trainer = Trainer(job(prepared, tmp_path), 0, 1)
    assert trainer.step == 10
    told = capfd.readouterr().err
    assert f"the checkpoint of step 20 is damaged and set aside ({name}" in told
    assert problem in told
    assert trainer.run() == FINISHED
    assert weights(tmp_path, END) == weights(alone, END)
    assert losses(tmp_path) == losses(alone)
    assert (tmp_path / "checkpoints" / "step-00000020.damaged").is_dir()


def test_a_damaged_start_is_refused(prepared: Planned, alone: Path, tmp_path: Path) -> None:
    """What another run left is not ours to set aside."""
    trained_to(prepared, tmp_path / "gb", 20)
    start = checkpoint_path(tmp_path / "gb", 20)
    change(start / "__0_0.distcp")
    one = job(
        prepared, tmp_path / "qb", start="new_data", start_checkpoint=str(start), start_step=20,
        model_config_folder=str(alone / "models" / f"step-{END:08d}"),
    )  # fmt: skip
    with pytest.raises(DamagedCheckpoint, match=r"__0_0.distcp was changed, in .*step-00000020"):
        Trainer(one, 0, 1)


def test_the_newest_and_every_switch_point_stay(prepared: Planned, tmp_path: Path) -> None:
    """A checkpoint after every step: of those that nobody asked for, three are left."""
    training = Training(checkpoint_every_seconds=1e-9, keep_checkpoints=3)
    one = job(prepared, tmp_path, training=training, keep_steps=[5, 12, END], export_steps=[])
    trainer = Trainer(one, 0, 1)
    whole_step = trainer._train_step

    def step(batch: Any) -> Any:
        trainer.checkpoints.writer.wait()  # so that each is there before the next one is due
        trainer.checkpoints.writer.blocked_seconds = 0.0
        return whole_step(batch)

    trainer._train_step = step  # type: ignore[method-assign]
    assert trainer.run() == FINISHED
    assert steps_in(tmp_path) == [5, 12, END - 2, END - 1, END]
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]
    assert all(not find_damage(checkpoint_path(tmp_path, step)) for step in steps_in(tmp_path))


def test_a_save_that_fails_is_told_and_training_goes_on(
    prepared: Planned, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The storage fails for a while: the good checkpoint is intact, the end is the same."""
    trained_to(prepared, tmp_path, 10)
    one = job(prepared, tmp_path, training=Training(checkpoint_every_seconds=1e-9), keep_steps=[10, END])
    trainer, saved = Trainer(one, 0, 1), checkpoint.dcp.save
    failures: list[int] = []

    def save(*arguments: Any, **options: Any) -> Any:
        if trainer.step < 30:
            failures.append(trainer.step)
            raise OSError("the object store does not answer")
        return saved(*arguments, **options)

    monkeypatch.setattr(checkpoint.dcp, "save", save)
    assert trainer.run() == FINISHED
    assert failures
    told = capfd.readouterr().err
    assert "a checkpoint could not be written (the object store does not answer): training goes on" in told
    assert "the last good one is that of step 10" in told
    assert weights(tmp_path, END) == weights(alone, END)


def test_no_step_waits_for_the_store_to_tell_what_it_has(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is asked at the start; a save that failed asks nothing of the store that failed."""
    trained_to(prepared, tmp_path, 10)
    one = job(prepared, tmp_path, training=Training(checkpoint_every_seconds=1e-9), keep_steps=[10, END])
    trainer, asked = Trainer(one, 0, 1), []

    def ask(*arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            asked.append(arguments)
        raise OSError("the object store does not answer")

    def save(*_: Any, **__: Any) -> Any:
        raise OSError("the object store does not answer")

    covered = checkpoint.steps_in(tmp_path)
    monkeypatch.setattr("switchpoint.components.train.job_checkpoints.steps_in", lambda _: covered)
    monkeypatch.setattr("switchpoint.components.train.job_checkpoints.is_kept", ask)
    for name in ("is_kept", "steps_in"):
        monkeypatch.setattr(checkpoint, name, ask)
    monkeypatch.setattr(checkpoint.dcp, "save", save)
    with pytest.raises(CheckpointFailed):
        trainer.run()
    assert trainer.step == END
    assert not asked


def test_the_last_good_checkpoint_is_the_newest_by_its_number(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Trainer(job(prepared, tmp_path, keep_steps=[9], export_steps=[], end_step=9), 0, 1).run()
    one = job(prepared, tmp_path, training=Training(checkpoint_every_seconds=1e-9), keep_steps=[9, END])
    trainer, saved = Trainer(one, 0, 1), checkpoint.dcp.save

    def save(*arguments: Any, **options: Any) -> Any:
        if 10 < int(options["storage_writer"].path[-8:]) < END:
            raise OSError("no answer")
        return saved(*arguments, **options)

    monkeypatch.setattr(checkpoint.dcp, "save", save)
    assert trainer.run() == FINISHED
    assert "the last good one is that of step 10" in capfd.readouterr().err


def test_a_switch_point_that_cannot_be_written_ends_the_run(
    prepared: Planned, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found at the next save, not at the end of a run that may take days."""
    one = job(prepared, tmp_path, training=Training(checkpoint_every_seconds=1e-9), keep_steps=[10, END])
    trainer, saved = Trainer(one, 0, 1), checkpoint.dcp.save

    failures = [OSError("the object store does not answer")]

    def save(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return saved(*arguments, **options)

    monkeypatch.setattr(checkpoint.dcp, "save", save)
    monkeypatch.setattr(trainer.checkpoints, "is_due", lambda: trainer.step >= 10)
    with pytest.raises(CheckpointFailed, match="the object store does not answer"):
        trainer.run()
    assert trainer.step == 11
    assert Trainer(one, 0, 1).run() == FINISHED
    assert weights(tmp_path, END) == weights(alone, END)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little space."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_space(
    prepared: Planned, alone: Path, tmp_path: Path, small_disk: Path
) -> None:
    run = small_disk / "run"
    trained_to(prepared, run, 10)
    filler = small_disk / "filler"
    _fill(filler)
    os.truncate(filler, filler.stat().st_size - 65_536)  # room for a line, not for a checkpoint
    with pytest.raises(CheckpointFailed, match=r"a checkpoint could not be written .*the last good one is intact"):
        Trainer(job(prepared, run, keep_steps=[10, 20], export_steps=[], end_step=20), 0, 1).run()
    assert steps_in(run) == [10]
    assert not find_damage(checkpoint_path(run, 10))
    filler.unlink()
    assert Trainer(job(prepared, run, keep_steps=[10, 20], export_steps=[], end_step=20), 0, 1).run() == FINISHED
    trained_to(prepared, tmp_path / "whole", 20)
    assert weights(run, 20) == weights(tmp_path / "whole", 20)
    assert losses(run) == losses(tmp_path / "whole")


def test_what_is_random_follows_from_the_step(prepared: Planned, tmp_path: Path) -> None:
    """Dropout: a run that is cut draws the same as one that is not, and another seed draws otherwise."""
    shape = job(prepared, tmp_path / "x").architecture

    def ended(name: str, cut_at: int | None = None, seed: int = 0) -> str:
        for end in [cut_at, 12] if cut_at else [12]:
            one = job(prepared, tmp_path / name, seed=seed, end_step=end, keep_steps=[end], export_steps=[])
            trainer = Trainer(one.model_copy(update={"architecture": shape}), 0, 1)
            for module in trainer.model.modules():
                if hasattr(module, "attention_dropout"):
                    module.attention_dropout = 0.3
            assert trainer.run() in (FINISHED, STOPPED)
        return weights(tmp_path / name, 12)

    whole = ended("whole")
    assert ended("cut", 5) == whole
    assert ended("other", seed=1) != whole


def test_the_state_file_tells_where_the_run_stood(alone: Path) -> None:
    state = read_json(checkpoint_path(alone, END) / "state.json")
    assert state["step"] == END
    assert state["world_size"] == 1
    assert set(state["files"]) == {".metadata", "__0_0.distcp"}
    assert {path.name for path in checkpoint_path(alone, END).iterdir()} == {*state["files"], "state.json"}
