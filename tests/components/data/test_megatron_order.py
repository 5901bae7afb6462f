"""Megatron's order: the samples that megatron-core itself gives, where it is installed, and those that it gave."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from switchpoint.components.data.megatron_order import MegatronBlend, MegatronSamples
from switchpoint.components.data.streams import write_stream
from switchpoint.components.store.store import Store
from tests.components.data.token_files import write_token_file

LENGTH, SEED = 16, 1234
WEIGHTS = {"a": Fraction(7, 10), "b": Fraction(2, 10), "c": Fraction(1, 10)}
CASES = {"part of an epoch": 40, "several epochs": 700, "a last epoch that is nearly whole": 320, "many": 2_000}


def write_sources(folder: Path) -> None:
    random = np.random.default_rng(0)
    for number, (name, documents) in enumerate((("a", 120), ("b", 33), ("c", 7))):
        lengths = random.integers(2, 90, documents)
        tokens = [random.integers(1000 * number, 1000 * number + 900, length).tolist() for length in lengths]
        write_token_file(folder / name, tokens, 4096)
        write_stream(folder / f"stream-{name}", [(name, int(lengths.sum()))])


def samples(folder: Path, num_samples: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """All samples of a phase, shape (num_samples, L + 1)."""
    blend = MegatronBlend(WEIGHTS, num_samples)
    sources = [
        MegatronSamples(folder / f"stream-{name}", Store(folder), LENGTH, blend.requested[name], SEED)
        for name in blend.names
    ]
    found = np.empty((num_samples, LENGTH + 1), dtype=np.int64)
    chosen, ordinals = blend.addresses(np.arange(num_samples))
    for row, source, ordinal in zip(found, chosen.tolist(), ordinals.tolist(), strict=True):
        sources[source].read(ordinal, row)
    return found


@pytest.mark.parametrize("num_samples", CASES.values(), ids=CASES.keys())
def test_it_is_that_of_megatron_core(tmp_path: Path, num_samples: int) -> None:
    pytest.importorskip("megatron.core.datasets", reason="megatron-core is not installed")
    from megatron.core.datasets.blended_dataset import BlendedDataset
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    class Tokenizer:
        eod, pad, vocab_size = 0, 0, 4096
        unique_identifiers: ClassVar[dict[str, str]] = {}

    write_sources(tmp_path)
    config = GPTDatasetConfig(
        random_seed=SEED, sequence_length=LENGTH, blend=([str(tmp_path / "a")], [1.0]), split="1,0,0",
        path_to_cache=str(tmp_path / "cache"), reset_position_ids=False, reset_attention_mask=False,
        eod_mask_loss=False, tokenizer=Tokenizer(), mid_level_dataset_surplus=0.005,
    )  # fmt: skip
    blend = MegatronBlend(WEIGHTS, num_samples)
    datasets = []
    for name in blend.names:
        indexed = IndexedDataset(str(tmp_path / name))
        documents = np.arange(indexed.document_indices.shape[0] - 1, dtype=np.int32)
        datasets.append(
            GPTDataset(indexed, str(tmp_path / name), documents, blend.requested[name], Split.train, config)
        )
    import torch

    monkey = pytest.MonkeyPatch()
    monkey.setattr(torch.distributed, "get_rank", lambda: 0)
    whole = BlendedDataset(datasets, [float(WEIGHTS[name]) for name in blend.names], num_samples, config)
    monkey.undo()
    wanted = np.stack([np.append(whole[k]["tokens"], whole[k]["labels"][-1]) for k in range(num_samples)])
    assert np.array_equal(samples(tmp_path, num_samples), wanted)


def test_it_stays_what_it_was(tmp_path: Path) -> None:
    """Digests of the samples that megatron-core 0.16.1 gave for the same files."""
    write_sources(tmp_path)
    found = {name: hashlib.sha256(samples(tmp_path, size).tobytes()).hexdigest()[:12] for name, size in CASES.items()}
    assert found == GOLDEN


GOLDEN = {
    "part of an epoch": "ecfcb22aae2c", "several epochs": "d858fbb1cb7a",
    "a last epoch that is nearly whole": "617466822e2e", "many": "0fd6733067d5",
}  # fmt: skip
