"""Document masks and packed samples in training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from switchpoint.components.data.remote_tokens import shared_cache
from switchpoint.components.data.samples import NO_TOKEN
from switchpoint.components.data.streams import file_prefixes, write_stream
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.data import Batch, Batches, document_positions
from switchpoint.components.train.job import JobSource
from switchpoint.components.train.job_files import fetch_inputs
from switchpoint.components.train.loop import FINISHED, Trainer
from switchpoint.components.train.model import build_model
from switchpoint.components.train.parallel import Ranks
from tests.components.train.test_loop import job, losses

END = 0


def test_positions_begin_anew_after_the_end_of_a_document() -> None:
    tokens = torch.tensor([[5, 6, END, 7, END, END, 8, 9], [END, 1, 2, 3, 4, 5, 6, END]])
    assert document_positions(tokens, END).tolist() == [[0, 1, 2, 0, 1, 0, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
def test_a_document_sees_nothing_of_the_others(prepared: Planned, tmp_path: Path, attention: str) -> None:
    """Its logits in a sample with others are those that it has alone, with plain SDPA."""
    one = job(prepared, tmp_path)
    model = build_model(one, Ranks(0, 1, one.training))
    tokens = torch.randint(1, 500, (2, 32), generator=torch.Generator().manual_seed(0))
    tokens[0, 11] = tokens[0, 20] = tokens[1, 7] = END
    model.set_attn_implementation(attention)
    with torch.no_grad():
        together = model(input_ids=tokens, position_ids=document_positions(tokens, END), use_cache=False).logits
        model.set_attn_implementation("sdpa")
        for row, begin, end in ((0, 0, 12), (0, 12, 21), (0, 21, 32), (1, 0, 8), (1, 8, 32)):
            alone = model(input_ids=tokens[row : row + 1, begin:end], use_cache=False).logits[0]
            torch.testing.assert_close(together[row, begin:end], alone, rtol=1e-4, atol=1e-5)
        mixed = model(input_ids=tokens, use_cache=False).logits
    assert not torch.allclose(mixed[0, 12:], together[0, 12:], atol=1e-4)


class Filled:
    """Batches whose samples are half empty."""

    def __init__(self, whole: Any, empty: int) -> None:
        self.whole, self.empty = whole, empty

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def batch(self, step: int) -> Batch:
        batch: Batch = self.whole.batch(step)
        batch.tokens[::2, self.empty :] = NO_TOKEN
        labels = (batch.tokens[:, 1:] != NO_TOKEN).sum(1)
        counts = torch.zeros(len(self.whole.names), dtype=torch.float64)
        return replace(batch, num_labels=counts.index_add(0, torch.tensor(batch.sources), labels.double()))


def test_nothing_is_learned_from_what_is_empty(prepared: Planned, tmp_path: Path) -> None:
    """The mean is over the labels that there are: the same as of those samples without the rest."""
    trainer = Trainer(job(prepared, tmp_path / "a", end_step=1, keep_steps=[1], export_steps=[1]), 0, 1)
    tokens = Filled(trainer.batches, 9).batch(0).tokens
    trainer.batches = Filled(trainer.batches, 9)  # type: ignore[assignment]
    with torch.no_grad():
        logits = torch.log_softmax(trainer.model(input_ids=tokens[:, :-1].clamp(min=0)).logits, -1)
    labels = tokens[:, 1:]
    kept = labels != NO_TOKEN
    wanted = -logits.gather(2, labels.clamp(min=0)[..., None])[..., 0][kept].mean()
    assert trainer.run() == FINISHED
    ((_, loss),) = losses(tmp_path / "a")
    assert loss == pytest.approx(float(wanted), rel=1e-5)


def test_a_run_in_megatrons_order_goes_on_where_it_was_cut(prepared: Planned, tmp_path: Path) -> None:
    """Other batches than the keyed order's, the same however the run is cut."""
    whole = job(prepared, tmp_path / "whole", data_order="megatron")
    assert Trainer(whole, 0, 1).run() == FINISHED
    assert Trainer(job(prepared, tmp_path / "keyed"), 0, 1).run() == FINISHED
    assert losses(tmp_path / "whole") != losses(tmp_path / "keyed")
    fields = {"data_order": "megatron", "keep_steps": [30], "export_steps": [], "end_step": 30}
    assert Trainer(job(prepared, tmp_path / "cut", **fields), 0, 1).run() == FINISHED
    assert Trainer(job(prepared, tmp_path / "cut", data_order="megatron"), 0, 1).run() == FINISHED
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_samples_of_an_object_store_are_read_ahead(prepared: Planned, tmp_path: Path) -> None:
    """The same batches as from this machine; what the next steps need is asked for already."""
    import fsspec
    import numpy as np

    here = fetch_inputs(job(prepared, tmp_path / "here"), 0)
    memory, remote = fsspec.filesystem("memory"), {}
    for name, source in here.sources.items():
        (prefix,) = (one.decode() for one in file_prefixes(Path(source.stream)))
        for suffix in (".bin", ".idx"):
            memory.pipe(f"/tokens/{name}{suffix}", (Path(here.store) / f"{prefix}{suffix}").read_bytes())
        (size,) = np.load(f"{source.stream}.ends.npy").tolist()
        write_stream(tmp_path / name, [(f"memory://tokens/{name}", size)])
        remote[name] = JobSource(stream=str(tmp_path / name))
    there = Batches(fetch_inputs(job(prepared, tmp_path / "there", sources=remote), 0), 0, 1)
    local = Batches(here, 0, 1)
    before = len(shared_cache()._ranges)
    for step in (0, 1, 2, 30):
        assert torch.equal(there.batch(step).tokens, local.batch(step).tokens)
        if not step:  # four samples of this step, and of each of the four after it
            assert len(shared_cache()._ranges) - before == 5 * 4
