"""Arrangements of processes: the same losses, the same bits after a cut, the same weights out of a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from switchpoint.components.recipe.training import Training
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loop import Trainer
from switchpoint.components.train.metrics import read_series
from tests.components.train.test_loop import END, job, losses, weights
from tests.components.train.test_loss import small_model
from tests.components.train.test_probes import write_probes

CUT = 15


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run_on_two(jobs: dict[str, tuple[TrainJob, bool]], folder: Path) -> None:
    """Trains the jobs one after the other on two processes. The flag: as a small model, one unit of FSDP."""
    file = folder / "jobs.json"
    file.write_text(
        json.dumps({name: {"job": one.model_dump(mode="json"), "small": small} for name, (one, small) in jobs.items()})
    )
    environment = os.environ | {"WORLD_SIZE": "2", "SWITCHPOINT_RENDEZVOUS": str(folder / "rendezvous")}
    command = [sys.executable, "-m", "tests.components.train.two_processes", str(file)]
    started = [
        subprocess.Popen(command, env=environment | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)


@pytest.fixture(scope="module")
def trained(prepared: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by every arrangement, each also cut and resumed; and one process alone."""
    root = tmp_path_factory.mktemp("arrangements")
    torch.set_num_threads(1)
    # Two layers and an untied head, so that there is something to split.
    shape = job(prepared, root / "x").architecture | {
        "num_layers": 2, "hidden_size": 32, "num_heads": 4, "num_kv_heads": 2, "head_width": 8,
        "tied_embeddings": False,
    }  # fmt: skip
    base = small_model("qwen3", tie_word_embeddings=True)
    base.config.vocab_size = 512
    base.resize_token_embeddings(512)
    base.to(torch.bfloat16).save_pretrained(root / "base", max_shard_size="20KB")

    def one(name: str, end: int = END, **changes: Any) -> TrainJob:
        fields: dict[str, Any] = {"architecture": shape, "keep_steps": [end], "export_steps": [], "end_step": end}
        return job(prepared, root / name, **(fields | changes))

    arrangements: dict[str, tuple[dict[str, Any], bool]] = {
        "one_unit": ({}, True),
        "blocks": ({}, False),
        "replicas": ({"replicas": 2}, False),
        "tensor_parallel": ({"tensor_parallel": 2}, False),
        "micro_batches": ({"micro_batch_size": 1}, False),
    }
    jobs: dict[str, tuple[TrainJob, bool]] = {}
    evaluated = {"probes": str(write_probes(root / "probes")), "evaluation_steps": [0, 5, END]}
    for name, (fields, small) in arrangements.items():
        training = Training(num_processes=2, **fields)
        jobs[name] = one(name, training=training), small
        # Evaluated while they train, unlike the one that is not cut: that changes no bit either.
        jobs[f"{name} cut"] = one(f"{name}-cut", CUT, training=training, **evaluated), small
        jobs[f"{name} resumed"] = one(f"{name}-cut", training=training, **evaluated), small
    folder = {"start": "fresh", "start_model": str(root / "base"), "model_config_folder": str(root / "base")}
    jobs["folder"] = one("folder", 5, architecture={}, **folder), False
    run_on_two(jobs, root)
    Trainer(one("alone", **evaluated), 0, 1).run()
    Trainer(one("folder-alone", 5, architecture={}, **folder), 0, 1).run()
    Trainer(one("micro-alone", training=Training(micro_batch_size=2)), 0, 1).run()
    return root


ARRANGEMENTS = ["one_unit", "blocks", "replicas", "tensor_parallel", "micro_batches"]


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_the_evaluations_are_those_of_one_process(trained: Path, name: str) -> None:
    expected = read_series(trained / "alone", "probes")
    found = read_series(trained / f"{name}-cut", "probes")
    assert list(found) == [0, 5, END]
    for step, row in found.items():
        for score, value in row["scores"].items():
            assert value == pytest.approx(expected[step]["scores"][score], rel=1e-4), (step, score)


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_the_losses_are_those_of_one_process(trained: Path, name: str) -> None:
    expected = [loss for _, loss in losses(trained / "alone")]
    assert [loss for _, loss in losses(trained / name)] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_cut_and_resumed_it_has_the_same_bits(trained: Path, name: str) -> None:
    assert weights(trained / f"{name}-cut", END) == weights(trained / name, END)
    assert losses(trained / f"{name}-cut") == losses(trained / name)


def test_micro_batches_change_rounding_only(trained: Path) -> None:
    expected = [loss for _, loss in losses(trained / "alone")]
    assert [loss for _, loss in losses(trained / "micro-alone")] == pytest.approx(expected, rel=1e-4)


def test_every_process_reads_its_own_slices_of_a_folder(trained: Path) -> None:
    """bf16 weights in several files, tied: the losses are those of one process that read them whole."""
    expected = [loss for _, loss in losses(trained / "folder-alone")]
    assert [loss for _, loss in losses(trained / "folder")] == pytest.approx(expected, rel=1e-4)


def test_processes_that_cannot_be_arranged_are_refused(prepared: Planned, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_processes 1 cannot be divided into replicas 1 x tensor_parallel 2"):
        Trainer(job(prepared, tmp_path, training=Training(num_processes=2, tensor_parallel=2)), 0, 1)
    with pytest.raises(ValueError, match="micro_batch_size 3 does not divide the 4 samples of a process"):
        Trainer(job(prepared, tmp_path, training=Training(micro_batch_size=3)), 0, 1)
