"""A run in an object store: the same bits as in a folder, whatever is cut, killed or damaged; the disk is empty."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from switchpoint.components.recipe.training import Training
from switchpoint.components.stages.supervise import train_to_end
from switchpoint.components.store import connection, opening, remote
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import write_json
from switchpoint.components.train import checkpoint
from switchpoint.components.train.checkpoint import (
    DamagedCheckpoint,
    checkpoint_place,
    find_damage,
    has_model,
    read_state,
    remove_checkpoint,
    steps_in,
)
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.job_files import work_folder
from switchpoint.components.train.loop import FINISHED, Trainer
from tests import object_store as there
from tests.components.conftest import ObjectStore
from tests.components.train.test_loop import END, job, losses, weights
from tests.faulty_proxy import faulty, some


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def alone(prepared: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a folder, without a stop."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    assert Trainer(job(prepared, folder), 0, 1).run() == FINISHED
    return folder


RemoteJob = Callable[..., TrainJob]


@pytest.fixture
def empty_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """From now on this machine has nothing of any store."""
    number = iter(range(100))

    def forget() -> None:
        monkeypatch.setenv("SWITCHPOINT_CACHE", str(tmp_path / f"cache-{next(number)}"))
        opening._remote_store.cache_clear()

    connection.reset()
    forget()
    yield forget
    connection.reset()
    opening._remote_store.cache_clear()


@pytest.fixture
def remote_job(
    prepared: Planned, object_store: ObjectStore, tmp_path: Path, empty_disk: Callable[[], None]
) -> RemoteJob:
    """As `job`, with the prepared store, and the run, in an object store."""
    for step in ("tokenizer", "tokens", "blend", "shard"):
        object_store.system.put(str(prepared.store.root / step), f"{object_store.url}/{step}", recursive=True)

    def make(name: str = "gb/run", **changes: Any) -> TrainJob:
        place = {"folder": f"{object_store.url}/{name}", "store": object_store.url}
        return job(prepared, tmp_path / "unused", **changes).model_copy(update=place)

    return make


def same_as(alone: Path, one: TrainJob, store: ObjectStore) -> None:
    assert (read_state(one.folder, END) or {})["weights_sha256"] == weights(alone, END)
    assert there.losses(store)[one.folder.removeprefix(f"{store.url}/")] == losses(alone)
    name = f"models/step-{END:08d}/model.safetensors"
    assert store.system.cat_file(f"{one.folder}/{name}") == (alone / name).read_bytes()


def test_a_run_has_the_bits_of_one_in_a_folder(
    alone: Path, remote_job: RemoteJob, object_store: ObjectStore, empty_disk: Callable[[], None]
) -> None:
    for end in (10, END):
        one = remote_job(keep_steps=[10, end], export_steps=[END] if end == END else [], end_step=end)
        assert Trainer(one, 0, 1).run() == FINISHED
        empty_disk()
    same_as(alone, one, object_store)
    assert steps_in(one.folder) == [10, END]
    assert not any(find_damage(checkpoint_place(one.folder, step)) for step in (10, END))
    assert json.loads(object_store.system.cat_file(f"{one.folder}/status.json"))["state"] == "finished"
    # A run that goes on from it, on another machine.
    qb = remote_job(
        "qb/run", start="new_data", start_checkpoint=checkpoint_place(one.folder, 10), start_step=10,
        model_config_folder=f"gb/run/models/step-{END:08d}",
    )  # fmt: skip
    assert Trainer(qb, 0, 1).run() == FINISHED
    assert (read_state(qb.folder, END) or {})["weights_sha256"] == weights(alone, END)


@pytest.mark.parametrize("spoil", ["cut", "change", "remove"])
def test_a_damaged_checkpoint_is_set_aside(
    alone: Path, remote_job: RemoteJob, object_store: ObjectStore, spoil: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for step in (10, 20):
        before = remote_job(keep_steps=[10, step], export_steps=[], end_step=step)
        assert Trainer(before, 0, 1).run() == FINISHED
    file = f"{checkpoint_place(before.folder, 20)}/__0_0.distcp"
    content = bytearray(object_store.system.cat_file(file))
    content[len(content) // 2] ^= 1
    if spoil == "remove":
        object_store.system.rm_file(file)
    else:
        object_store.system.pipe_file(file, bytes(content if spoil == "change" else content[:-1]))
    qb = remote_job("qb/run", start="new_data", start_checkpoint=checkpoint_place(before.folder, 20), start_step=20)
    with pytest.raises(DamagedCheckpoint, match=r"what the run starts from is damaged: __0_0.distcp"):
        Trainer(qb.model_copy(update={"start": "scratch"}), 0, 1)
    trainer = Trainer(remote_job(), 0, 1)
    assert trainer.step == 10
    assert "the checkpoint of step 20 is damaged and set aside (__0_0.distcp" in capfd.readouterr().err
    assert trainer.run() == FINISHED
    same_as(alone, remote_job(), object_store)
    assert object_store.system.exists(f"{checkpoint_place(before.folder, 20)}.damaged/state.json")


def test_what_is_cut_short_is_invisible_and_goes(
    alone: Path, remote_job: RemoteJob, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writing that ends before the state file; a removal that ends after it."""
    first = remote_job(keep_steps=[10], export_steps=[], end_step=10)
    assert Trainer(first, 0, 1).run() == FINISHED

    def cut(place: str, value: Any) -> None:
        raise ConnectionError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_json", cut)
        with pytest.raises(checkpoint.CheckpointFailed, match="cut"):
            Trainer(remote_job(keep_steps=[10, 20], export_steps=[], end_step=20), 0, 1).run()
    assert object_store.system.exists(f"{checkpoint_place(first.folder, 20)}/__0_0.distcp")
    assert steps_in(first.folder) == [10]
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "remove_folder", lambda place: None)
        remove_checkpoint(checkpoint_place(first.folder, 10))
    assert steps_in(first.folder) == []
    one = remote_job()
    assert Trainer(one, 0, 1).run() == FINISHED
    same_as(alone, one, object_store)
    names = {
        path.split("/checkpoints/")[1].split("/")[0] for path in object_store.system.find(f"{one.folder}/checkpoints")
    }
    assert names == {f"step-{END:08d}"}


def test_no_checkpoint_is_there_before_its_rows_are(remote_job: RemoteJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are lost behind a checkpoint are never trained again."""
    one, whole = remote_job(keep_steps=[10], export_steps=[], end_step=10), remote.write_bytes

    def write(url: str, content: bytes) -> None:
        if url.endswith("metrics.jsonl"):
            raise OSError("no answer")
        whole(url, content)

    monkeypatch.setattr(remote, "write_bytes", write)
    with pytest.raises(checkpoint.CheckpointFailed, match="no answer"):
        Trainer(one, 0, 1).run()
    assert steps_in(one.folder) == []


def test_of_many_checkpoints_the_newest_and_the_wanted_stay(remote_job: RemoteJob) -> None:
    training = Training(checkpoint_every_seconds=1e-9, keep_checkpoints=2)
    one = remote_job(training=training, keep_steps=[3, 12], export_steps=[], end_step=12)
    trainer = Trainer(one, 0, 1)
    whole_step = trainer._train_step

    def step(batch: Any) -> Any:
        trainer.checkpoints.writer.wait()
        trainer.checkpoints.writer.blocked_seconds = 0.0
        return whole_step(batch)

    trainer._train_step = step  # type: ignore[method-assign]
    assert trainer.run() == FINISHED
    assert steps_in(one.folder) == [3, 11, 12]


def _start(one: TrainJob, folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir(exist_ok=True)
    write_json(folder / "job.json", one.model_dump(mode="json"))
    variables = {"RANK": "0", "WORLD_SIZE": "1", "OMP_NUM_THREADS": "1", "SWITCHPOINT_RENDEZVOUS": str(folder / "meet")}
    command = [sys.executable, "-m", "switchpoint.components.train.app", str(folder / "job.json")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)


@pytest.mark.slow
def test_killed_and_started_again_on_an_empty_disk(
    alone: Path, remote_job: RemoteJob, object_store: ObjectStore, empty_disk: Callable[[], None], tmp_path: Path
) -> None:
    """With faults; no step that a checkpoint holds is trained again, and no row is missing or there twice."""
    one = remote_job(keep_steps=[10, 20, 30, END])
    with pytest.MonkeyPatch.context() as patched, faulty(os.environ["AWS_ENDPOINT_URL"], some(0.1)) as proxy:
        patched.setenv("AWS_ENDPOINT_URL", proxy.url)
        patched.setenv("FSSPEC_S3", json.dumps(there.QUICK))
        first = _start(one, tmp_path / "first")
        deadline = time.monotonic() + 200
        while not object_store.system.glob(f"{one.folder}/checkpoints/*/state.json"):
            assert first.poll() is None, (tmp_path / "first" / "log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        empty_disk()
        reached = steps_in(one.folder)[-1]
        assert reached < END
        assert _start(one, tmp_path / "second").wait(300) == 0, (tmp_path / "second" / "log").read_text()[-3000:]
    assert proxy.faults
    connection.reset()  # this process has talked to the proxy, which is gone
    same_as(alone, one, object_store)


def test_the_launcher_learns_why_a_process_failed_elsewhere(
    remote_job: RemoteJob, tmp_path: Path, object_store: ObjectStore
) -> None:
    """Nothing but the object store is between them."""
    from switchpoint.components.stages.supervise import TrainingFailed

    one = remote_job(start_checkpoint="gb/none", start_step=0)
    with pytest.raises(TrainingFailed, match="what the run starts from is damaged"):
        train_to_end("gb-none", one, tmp_path / "log", 1)
    assert object_store.system.exists(f"{one.folder}/failure-0.json")
    shutil.rmtree(work_folder(one, 0))
    train_to_end("gb-run", remote_job(end_step=2, keep_steps=[2], export_steps=[2]), tmp_path / "log", 2)
    assert not object_store.system.exists(f"{one.folder}/failure-0.json")
    assert has_model(one.folder, 2)
    assert set((read_state(one.folder, 2) or {})["files"]) == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    assert not find_damage(checkpoint_place(one.folder, 2))
