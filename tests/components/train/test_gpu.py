"""What only a GPU can show: bf16 compute over fp32 weights, compiled blocks, activations computed again."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from switchpoint.components.recipe.training import Training
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.loop import FINISHED, Trainer
from switchpoint.components.train.parallel import Ranks, join_processes
from switchpoint.components.train.throughput import Throughput, peak_flops_per_second
from tests.components.train.test_loop import END, job, losses, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is found by torch"),
]


@pytest.fixture(autouse=True)
def _joined(tmp_path: Path) -> None:
    if not dist.is_initialized():
        join_processes(Ranks(0, 1, Training()), f"file://{tmp_path}/meeting", 120)


def test_weights_are_fp32_and_the_loss_falls_as_on_a_cpu(prepared: Planned, tmp_path: Path) -> None:
    trainer = Trainer(job(prepared, tmp_path), 0, 1)
    assert {one.dtype for one in trainer.model.parameters()} == {torch.float32}
    assert {one.device.type for one in trainer.model.parameters()} == {"cuda"}
    assert trainer.run() == FINISHED
    curve = [loss for _, loss in losses(tmp_path)]
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 - 0.3


def test_a_cut_run_has_the_same_bits(prepared: Planned, tmp_path: Path) -> None:
    assert Trainer(job(prepared, tmp_path / "whole"), 0, 1).run() == FINISHED
    assert Trainer(job(prepared, tmp_path / "cut", end_step=15, keep_steps=[15], export_steps=[]), 0, 1).run()
    assert Trainer(job(prepared, tmp_path / "cut"), 0, 1).run() == FINISHED
    assert weights(tmp_path / "cut", END) == weights(tmp_path / "whole", END)


def test_activations_that_are_computed_again_change_rounding_only(prepared: Planned, tmp_path: Path) -> None:
    for name, again in (("kept", False), ("again", True)):
        one = job(prepared, tmp_path / name, training=Training(activation_checkpointing=again))
        assert Trainer(one, 0, 1).run() == FINISHED
    kept = [loss for _, loss in losses(tmp_path / "kept")]
    assert [loss for _, loss in losses(tmp_path / "again")] == pytest.approx(kept, rel=1e-2)


def test_documents_do_not_see_each_other(prepared: Planned, tmp_path: Path) -> None:
    trainer = Trainer(job(prepared, tmp_path, document_mask=True), 0, 1)
    assert trainer.model.config._attn_implementation == "flex_attention"
    assert trainer.run() == FINISHED


def test_the_share_of_the_peak_is_known() -> None:
    device = torch.device("cuda", 0)
    if peak_flops_per_second(device) is None:
        pytest.skip(f"no figures for {torch.cuda.get_device_name(device)}")
    measured = Throughput(device, 1, 6e6)
    measured.step(1000)
    assert measured.mfu() is not None
    assert measured.memory_bytes() >= 0
