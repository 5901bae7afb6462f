"""Steps that must not be taken: the run stops and names the batch, or skips it where the recipe says so."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from switchpoint.components.recipe.training import Training
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json
from switchpoint.components.train.checkpoint import checkpoint_path, steps_in
from switchpoint.components.train.data import Batch
from switchpoint.components.train.guard import WINDOW_STEPS, BadBatch, BadModel, Guard
from switchpoint.components.train.loop import FINISHED, Trainer
from tests.components.train.test_loop import END, job, weights
from tests.components.train.test_loss import VOCAB, small_model

BAD_STEP = 17


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def poisoned(one: Any, factor: float, steps: Sequence[int] = (BAD_STEP,)) -> Trainer:
    """A trainer whose gradients of some steps are multiplied."""
    trainer = Trainer(one, 0, 1)
    forward_backward = trainer.training_step.forward_backward

    def multiplied(batch: Any, step: int) -> torch.Tensor:
        sums = forward_backward(batch, step)
        if step + 1 in steps:
            for parameter in trainer.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        return sums

    trainer.training_step.forward_backward = multiplied  # type: ignore[method-assign]
    return trainer


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_stops_the_run_and_names_its_samples(
    prepared: Planned, tmp_path: Path, factor: float
) -> None:
    trainer = poisoned(job(prepared, tmp_path, keep_steps=[10, END]), factor)
    with pytest.raises(BadBatch, match=rf"step {BAD_STEP}: the gradient norm is (nan|inf); samples: prose \d+"):
        trainer.run()
    assert steps_in(tmp_path) == [10]
    named = read_json(tmp_path / f"bad-batch-{BAD_STEP:08d}.json")
    assert named["samples"] == trainer.batches.samples_of(BAD_STEP - 1)
    assert sum(map(len, named["samples"].values())) == 4
    # With what made it bad gone, the same command goes on.
    assert Trainer(job(prepared, tmp_path, keep_steps=[10, END]), 0, 1).run() == FINISHED


def test_a_skipped_batch_is_counted_and_changes_nothing_else(prepared: Planned, tmp_path: Path) -> None:
    """The weights stay as they were before it; cut off and resumed, the run ends with the same bits."""
    training = Training(bad_batch="skip")
    ends = []
    for name, cut in (("whole", None), ("cut", BAD_STEP + 3)):
        folder = tmp_path / name
        for end in [cut, END] if cut else [END]:
            one = job(prepared, folder, training=training, keep_steps=[BAD_STEP - 1, BAD_STEP, end], end_step=end)
            trainer = poisoned(one.model_copy(update={"export_steps": []}), math.nan)
            assert trainer.run() == FINISHED
        assert trainer.skipped_steps == 1
        assert weights(folder, BAD_STEP) == weights(folder, BAD_STEP - 1)
        assert weights(folder, END) != weights(folder, BAD_STEP)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, END + 1))
        assert [row["step"] for row in rows if row.get("skipped")] == [BAD_STEP]
        assert rows[BAD_STEP - 1]["grad_norm"] is None
        assert rows[-1]["skipped_steps"] == read_json(checkpoint_path(folder, END) / "state.json")["skipped_steps"] == 1
        ends.append((weights(folder, END), [row["loss"] for row in rows]))
    assert ends[0] == ends[1]


def filled(training: Training) -> Guard:
    guard = Guard(training)
    for step in range(WINDOW_STEPS):
        assert not guard.judge(3.0 + 0.01 * (-1) ** step, 0.5 + 0.01 * (-1) ** step)
    return guard


def test_a_spike_is_what_lies_far_above_the_steps_before() -> None:
    guard = filled(Training(spike_sigmas=6))
    assert guard.judge(3.05, 0.55) == ""
    assert "the loss 3.2 lies more than 6 standard deviations" in guard.judge(3.2, 0.5)
    assert "the gradient norm 0.9 lies more than 6" in guard.judge(3.0, 0.9)
    assert guard.judge(1.0, 0.1) == ""  # below is no harm
    assert filled(Training()).judge(1e9, 1e9) == ""
    early = Guard(Training(spike_sigmas=6))
    early.judge(3.0, 0.5)
    assert early.judge(300.0, 50.0) == ""  # too few steps to know what is usual


def test_what_was_seen_is_in_the_checkpoint() -> None:
    """A spike does not widen the window that it is judged by; a resumed run judges as one that went on."""
    guard = filled(Training(spike_sigmas=6))
    guard.judge(9.0, 0.5)
    resumed = Guard(Training(spike_sigmas=6))
    resumed.load(json.loads(json.dumps(guard.state())))
    assert resumed.state() == guard.state()
    assert max(resumed.state()["loss"]) < 4
    resumed.judge(3.1, 0.6)
    resumed.load(guard.state())  # a trainer that skips ahead to another's checkpoint
    assert resumed.state() == guard.state()


def test_a_resumed_trainer_knows_the_steps_before(prepared: Planned, tmp_path: Path) -> None:
    training = Training(spike_sigmas=6)
    first = Trainer(job(prepared, tmp_path, training=training, end_step=9, keep_steps=[9], export_steps=[]), 0, 1)
    assert first.run() == FINISHED
    assert len(first.guard.state()["loss"]) == 9
    assert Trainer(job(prepared, tmp_path, training=training), 0, 1).guard.state() == first.guard.state()


def overflowing(folder: Path) -> Path:
    """Write a model whose weights are finite, and whose logits are not: fp32 ends at 3.4e38."""
    model = small_model("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(3e38)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bad_batch", ["stop", "skip"])
def test_a_base_that_gives_no_numbers_is_named_and_no_samples(
    prepared: Planned, tmp_path: Path, bad_batch: Any
) -> None:
    base = str(overflowing(tmp_path / "base"))
    one = job(
        prepared, tmp_path / "run", start="fresh", start_model=base, model_config_folder=base, vocab_size=VOCAB,
        training=Training(bad_batch=bad_batch),
    )  # fmt: skip
    trainer = Trainer(one, 0, 1)
    tokens = torch.arange(33).repeat(4, 1)
    labels = torch.tensor([4.0 * 32] + [0.0] * (len(trainer.batches.names) - 1), dtype=torch.float64)
    trainer.batches.batch = lambda step: Batch(tokens, [0] * 4, labels, has_gaps=False)  # type: ignore[method-assign]
    with pytest.raises(BadModel, match=r"step 1: the loss is (nan|inf), and so it is whatever the text: ") as caught:
        trainer.run()
    assert str(caught.value).endswith(f"{base} gives values that are not finite before anything is trained")
    assert steps_in(tmp_path / "run") == []


def test_a_run_whose_batches_are_all_skipped_has_failed(prepared: Planned, tmp_path: Path) -> None:
    training = Training(bad_batch="skip")
    one = job(prepared, tmp_path, start_step=0, end_step=4, keep_steps=[3, 4], export_steps=[4], training=training)
    trainer = poisoned(one, math.nan, steps=range(1, 5))
    with pytest.raises(
        BadBatch, match="all 3 steps up to the checkpoint of step 3 were bad; the last: step 3: the gra"
    ):
        trainer.run()
    assert steps_in(tmp_path) == []
    (tmp_path / "one-good").mkdir()
    trainer = poisoned(one.model_copy(update={"folder": str(tmp_path / "one-good")}), math.nan, steps=(1, 2, 4))
    assert trainer.run() == FINISHED
    assert trainer.skipped_steps == 3
