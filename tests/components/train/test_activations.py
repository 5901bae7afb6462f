"""Activation checkpointing and the metrics of a step, as far as a CPU can show them."""

import json
from pathlib import Path

import pytest
import torch

from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.loop import FINISHED, Trainer
from switchpoint.components.train.loss import install_loss, summed_losses
from switchpoint.components.train.parallel import checkpoint_activations
from switchpoint.components.train.throughput import Throughput
from tests.components.train.test_loop import END, job
from tests.components.train.test_loss import gradients, samples, small_model


def test_computed_again_the_gradients_are_the_same_bits() -> None:
    torch.set_num_threads(1)
    found = []
    for again in (False, True):
        model = small_model("llama")
        install_loss(model)
        calls = [0]
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 1))
        if again:
            checkpoint_activations(model)
        loss, _ = summed_losses(model, samples(), [0] * 6, None)
        loss.backward()
        assert calls[0] == 1 + again
        found.append(gradients(model))
    for name, gradient in found[0].items():
        assert torch.equal(found[1][name], gradient), name


def test_a_step_leaves_all_that_is_watched(prepared: Planned, tmp_path: Path) -> None:
    one = job(prepared, tmp_path, flops_per_token=6 * 25_000.0)
    assert Trainer(one, 0, 1).run() == FINISHED
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    sources = set(one.sources)
    seen: set[str] = set()
    for row in rows:
        assert row["losses"].keys() <= sources
        seen |= row["losses"].keys()
        assert 0 < row["mfu"] < 1
        assert row["tokens_per_second"] > 0
        assert row["memory_bytes"] > 10**7
        assert row["skipped_steps"] == 0
        if len(row["losses"]) == 1:
            assert row["loss"] == pytest.approx(next(iter(row["losses"].values())))
    assert seen == sources
    assert rows[-1]["eta_seconds"] == 0
    assert rows[0]["eta_seconds"] > rows[END // 2]["eta_seconds"] > 0


def test_without_a_count_of_operations_there_is_no_share() -> None:
    measured = Throughput(torch.device("cpu"), 1, None)
    measured.step(100)
    assert measured.mfu() is None
    assert measured.tokens_per_second > 0
