"""The last upload of a run in an object store is work, not a hang; an upload beside the training is no sign of life."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist

from switchpoint.components.train import app, loop, parallel, upload
from switchpoint.components.train.loop import FINISHED
from switchpoint.components.train.upload import Upload
from switchpoint.components.train.watchdog import Watchdog


def test_only_the_last_upload_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "work_folder", lambda *_: tmp_path)
    one: Any = SimpleNamespace(folder="memory://run")
    alive: list[int] = []

    def write(step: int) -> None:
        model = tmp_path / "models" / f"step-{step:08d}"
        model.mkdir(parents=True)
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            (model / name).write_bytes(b"x" * 10)
        (tmp_path / "metrics.jsonl").write_text("x" * step)

    with Upload(one, 0) as opened:
        opened.alive = lambda: alive.append(1)
        write(1)
        opened.now()
        assert not alive
        write(2)
    assert len(alive) >= 4


def test_the_end_of_communication_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it hangs, so does nobody."""
    watched: list[bool] = []
    opened: list[Watchdog] = []

    class Watched(Watchdog):
        def __enter__(self) -> "Watched":
            opened.append(self)
            super().__enter__()
            return self

        def __exit__(self, *_: Any) -> None:
            opened.remove(self)
            super().__exit__(*_)

    for name, value in {"OMP_NUM_THREADS": "1", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(app, "die_with_parent", lambda _: None)
    monkeypatch.setattr("switchpoint.components.train.watchdog.Watchdog", Watched)
    monkeypatch.setattr("switchpoint.components.train.job_files.work_folder", lambda *_: tmp_path)
    monkeypatch.setattr(parallel, "join_processes", lambda *_: None)
    monkeypatch.setattr(parallel, "Ranks", lambda *_: None)
    monkeypatch.setattr(loop, "Trainer", lambda *_: SimpleNamespace(run=lambda _: FINISHED))
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: watched.append(bool(opened)))
    job = SimpleNamespace(folder=str(tmp_path), training=SimpleNamespace(hang_seconds=60.0))
    monkeypatch.setattr("switchpoint.components.train.job_files.read_job", lambda _: job)
    monkeypatch.setattr("sys.argv", ["app", "job.json"])
    with pytest.raises(SystemExit, match="0"):
        app.main()
    assert watched == [True]
