"""The trainer beside others: `python -m tests.bench.trainer [--litgpt PYTHON]` prints JSON.

Speed: the same model, weights and tokens, one process each, rounds in turn, tokens per CPU-second; the losses must
agree. Memory of the chunked loss, the time that a checkpoint keeps the loop, and the time from launch to first step.
litgpt does not go with transformers 5: give the Python of an environment that has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from switchpoint.components.data.streams import write_stream
from switchpoint.components.data.token_file import TokenWriter
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.recipe.schedule_config import Constant
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.training import Training
from switchpoint.components.train.checkpoint import CheckpointWriter
from switchpoint.components.train.data import Batches
from switchpoint.components.train.job import JobPhase, JobSource, TrainJob
from switchpoint.components.train.model import build_model
from switchpoint.components.train.optimizer import build_optimizer
from switchpoint.components.train.parallel import Ranks

LAYERS, HIDDEN, VOCAB, LENGTH, BATCH = 4, 256, 4096, 256, 8
ROUNDS, STEPS = 7, 10
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}


def write_job(folder: Path, steps: int, **shape: int) -> TrainJob:
    """A job on tokens that follow each other as words do, somewhat; and its folder."""
    draw = np.random.default_rng(0)
    vocab = shape.get("vocab_size", VOCAB)
    tokens = (draw.zipf(1.3, size=(steps + 1) * BATCH * (LENGTH + 1)) % (vocab - 1) + 1).astype(np.uint16)
    tokens[1::2] = (tokens[::2][: len(tokens[1::2])].astype(np.int64) * 7 % (vocab - 1) + 1).astype(np.uint16)
    prefix = folder / "tokens"
    with TokenWriter(prefix, vocab) as writer:
        writer.write(tokens, np.array([len(tokens)]))
    write_stream(folder / "stream", [(str(prefix), len(tokens))])
    (folder / "tokenizer").mkdir(exist_ok=True)
    architecture = {
        "kind": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN, "ffn_size": 688, "num_layers": LAYERS,
        "num_heads": 4, "num_kv_heads": 2, "head_width": 64, "tied_embeddings": False, "end_of_document": 0,
    } | shape  # fmt: skip
    total = steps * BATCH * LENGTH
    schedule = Constant(kind="constant", max_learning_rate=1e-3).pieces(None, total)
    phase = JobPhase(
        weights={"text": 1}, first_sample=0, order=0, num_samples=steps * BATCH,
        settings=StepSettings(
            sequence_length=LENGTH, batch_size=BATCH, packing="concatenate", document_mask=False, data_order="keyed",
            optimizer=Optimizer(), bad_batch="stop", spike_sigmas=None,
        ),
    )  # fmt: skip
    return TrainJob(
        folder=str(folder / "run"), start="scratch", architecture=architecture, tokenizer=str(folder / "tokenizer"),
        store=str(folder), phases=[phase], sources={"text": JobSource(stream=str(folder / "stream"))}, seed=0,
        pieces=list(schedule.pieces), stretches=list(Clock.of(BATCH, LENGTH).stretches),
        vocab_size=architecture["vocab_size"], end_of_document=0,
        start_step=0, end_step=steps, keep_steps=[], export_steps=[], flops_per_token=6.0 * 5.26e6,
    )  # fmt: skip


def speed(litgpt: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = (ROUNDS + 1) * STEPS
        job = write_job(folder, steps)
        model = build_model(job, Ranks(0, 1, Training()))
        model.save_pretrained(folder / "model")
        start = {"start": "fresh", "start_model": str(folder / "model"), "end_step": steps + 1}
        (folder / "run").mkdir()
        (folder / "job.json").write_text(job.model_copy(update=start).model_dump_json())
        made = Batches(job, 0, 1)
        np.save(folder / "batches.npy", np.stack([made.batch(step).tokens.numpy() for step in range(steps)]))
        pythons = {"bare_loop": sys.executable, "switchpoint": sys.executable, "hf_trainer": sys.executable}
        pythons |= {"litgpt": litgpt} if litgpt else {}
        root = Path(__file__).parents[2]
        workers = {
            one: subprocess.Popen(
                [python, str(Path(__file__).with_name("trainer_contenders.py")), one, name, str(STEPS)],
                env=ENVIRONMENT | ({} if one == "litgpt" else {"PYTHONPATH": str(root)}), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )
            for one, python in pythons.items()
        }  # fmt: skip
        answers: dict[str, list[dict[str, Any]]] = {one: [] for one in workers}
        for number in range(ROUNDS + 1):
            order = list(workers)
            for one in order[number % len(order) :] + order[: number % len(order)]:
                worker = workers[one]
                assert worker.stdin
                assert worker.stdout
                worker.stdin.write("go\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
                while line and not line.startswith("{"):
                    line = worker.stdout.readline()
                answers[one].append(json.loads(line))
        for worker in workers.values():
            worker.communicate()
    losses = {one: [loss for answer in found for loss in answer["losses"]] for one, found in answers.items()}
    apart = {}
    for one, curve in losses.items():
        # A loop without clipping parts from the others after its first step.
        compared = 1 if one == "bare_loop" else len(curve)
        apart[one] = max(
            abs(a - b) / b for a, b in zip(curve[:compared], losses["switchpoint"][:compared], strict=True)
        )
        assert apart[one] < 0.01, (one, apart)
    per_round = STEPS * BATCH * LENGTH
    counted = {one: found[1:] for one, found in answers.items()}  # the first round warms up
    ratios = {
        other: statistics.median(
            theirs["cpu"] / ours["cpu"]
            for theirs, ours in zip(counted[other], counted["switchpoint"], strict=True)
        )
        for other in counted if other != "switchpoint"
    }  # fmt: skip
    return {
        "tokens_per_cpu_second": {
            one: round(statistics.median(per_round / answer["cpu"] for answer in found))
            for one, found in counted.items()
        },
        "tokens_per_second": {
            one: round(statistics.median(per_round / answer["wall"] for answer in found))
            for one, found in counted.items()
        },
        "switchpoint_is_times_as_fast_as": {other: round(ratio, 3) for other, ratio in ratios.items()},
        "last_losses": {one: round(curve[-1], 4) for one, curve in losses.items()},
        "losses_apart": {one: float(f"{value:.1e}") for one, value in apart.items()},
        "rounds": ROUNDS, "steps_per_round": STEPS,
    }  # fmt: skip


MEMORY = """
import re, sys, torch
from pathlib import Path
from switchpoint.components.train import loss
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loop import Trainer
if sys.argv[2] == "plain":
    loss.CHUNKED_VOCAB_SIZE = 10**9
torch.set_num_threads(2)
def peak():  # of this program: ru_maxrss is inherited from the one that started it
    return re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
before = peak()
Trainer(TrainJob.model_validate_json(Path(sys.argv[1]).read_text()), 0, 1).run()
print(before, peak())
"""


def memory(vocab_size: int) -> dict[str, Any]:
    """Peak of a whole process that trains three steps, and of what it took beyond its imports."""
    found: dict[str, tuple[int, int]] = {}
    for kind in ("plain", "chunked"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = write_job(folder, 3, vocab_size=vocab_size)
            (folder / "run").mkdir()
            (folder / "job.json").write_text(job.model_dump_json())
            out = subprocess.run(
                [sys.executable, "-c", MEMORY, str(folder / "job.json"), kind], env=ENVIRONMENT, check=True,
                capture_output=True, text=True,
            ).stdout.split()  # fmt: skip
            found[kind] = int(out[-2]), int(out[-1])
    whole = {kind: peak for kind, (_, peak) in found.items()}
    return {
        "vocab_size": vocab_size, "peak_megabytes": {kind: round(peak / 1e3) for kind, peak in whole.items()},
        "saved": round(1 - whole["chunked"] / whole["plain"], 3),
        "saved_beyond_imports": round(
            1 - (found["chunked"][1] - found["chunked"][0]) / (found["plain"][1] - found["plain"][0]), 3
        ),
    }  # fmt: skip


def saving() -> dict[str, Any]:
    """How long the loop waits for a checkpoint of 50M parameters, asynchronous and not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = write_job(folder, 1, num_layers=12, hidden_size=512, ffn_size=1408, num_heads=8, vocab_size=8192)
        model = build_model(job, Ranks(0, 1, Training()))
        optimizer = build_optimizer(model, Optimizer())
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        writer = CheckpointWriter(folder, [], 2)
        blocked, whole = [], []
        for step in range(6):
            began = time.perf_counter()
            writer.save(step, model, optimizer, {})
            blocked.append(time.perf_counter() - began)
            writer.wait()
            whole.append(time.perf_counter() - began)
        writer.close()
        parameters = sum(one.numel() for one in model.parameters())
    blocked_median, whole_median = statistics.median(blocked[1:]), statistics.median(whole[1:])
    return {
        "parameters": parameters, "first_blocked_seconds": round(blocked[0], 3),
        "blocked_seconds": round(blocked_median, 3), "whole_seconds": round(whole_median, 3),
        "blocked_share": round(blocked_median / whole_median, 3),
    }  # fmt: skip


def launch() -> dict[str, Any]:
    """From the start of a process to its first step; and what importing torch alone takes."""
    first, imports = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = write_job(folder, 2)
            (folder / "run").mkdir()
            (folder / "job.json").write_text(job.model_dump_json())
            environment = ENVIRONMENT | {"RANK": "0", "WORLD_SIZE": "1", "SWITCHPOINT_RENDEZVOUS": str(folder / "r")}
            began = time.time()
            subprocess.run(
                [sys.executable, "-m", "switchpoint.components.train.app", str(folder / "job.json")], env=environment,
                check=True, capture_output=True,
            )  # fmt: skip
            first.append(json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[0])["time"] - began)
            began = time.time()
            subprocess.run([sys.executable, "-c", "import torch"], env=ENVIRONMENT, check=True)
            imports.append(time.time() - began)
    return {
        "first_step_seconds": round(statistics.median(first), 2),
        "import_torch_seconds": round(statistics.median(imports), 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litgpt", help="the Python of an environment with litgpt")
    given = parser.parse_args()
    torch.set_num_threads(2)
    results = {"launch": launch(), "saving": saving(), "memory": memory(65_536), "speed": speed(given.litgpt)}
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
