"""The order of samples and the reading of them: `python -m tests.bench.bench_sampler` prints JSON.

Addresses, start-up and memory at 64 sources and 300B and 15T tokens, beside Megatron's index (its size follows from its
format: 2 bytes of source and 8 of position a sample); the loader beside plain numpy copying the same random slices.
"""

import json
import statistics
import tempfile
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from switchpoint.components.data.sampler import Sampler
from switchpoint.components.data.samples import open_samples
from switchpoint.components.data.streams import write_stream
from switchpoint.components.data.token_file import TokenWriter, read_token_file
from switchpoint.components.store.store import Store

SEQUENCE_LENGTH = 4096
NUM_SOURCES = 64
BATCH = 512
LOADER_FILES, LOADER_TOKENS = 8, 64 * 2**20
MEGATRON_BYTES_PER_SAMPLE = 10


def sampler(num_tokens: int) -> Sampler:
    """Two phases over 64 sources of very different sizes, the switch at 80%."""
    num_samples = num_tokens // SEQUENCE_LENGTH
    parts = np.random.default_rng(0).pareto(1.0, NUM_SOURCES) + 0.01
    parts = np.maximum(1, parts / parts.sum() * 10**6).astype(np.int64)
    weights = {f"source-{n:02}": Fraction(int(one), int(parts.sum())) for n, one in enumerate(parts)}
    sizes = {name: max(1, int(num_samples * weight / 2)) for name, weight in weights.items()}
    phases = [
        SimpleNamespace(weights=weights, first_sample=first, order=0)
        for first in (0, num_samples * 4 // 5)
    ]  # fmt: skip
    return Sampler(phases, [sizes] * len(phases), seed=0)


def addresses(num_tokens: int) -> dict[str, Any]:
    tracemalloc.start()
    began = time.perf_counter()
    made = sampler(num_tokens)
    made.addresses(np.arange(BATCH))
    start_up = time.perf_counter() - began
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    first = num_tokens // SEQUENCE_LENGTH // 3
    taken = []
    for batch in range(200):
        samples = np.arange(first + batch * BATCH, first + (batch + 1) * BATCH)
        began = time.perf_counter()
        made.addresses(samples)
        taken.append(time.perf_counter() - began)
    return {
        "tokens": num_tokens, "sources": NUM_SOURCES,
        "milliseconds_per_512_addresses": statistics.median(taken) * 1e3, "wanted_milliseconds": 1,
        "start_up_milliseconds": start_up * 1e3, "wanted_start_up_milliseconds": 50,
        "memory_megabytes": memory / 1e6, "wanted_memory_megabytes": 4,
        "megatron_index_megabytes": num_tokens // SEQUENCE_LENGTH * MEGATRON_BYTES_PER_SAMPLE / 1e6,
    }  # fmt: skip


def loader() -> dict[str, Any]:
    """Samples of 4,096 tokens at random from 16-bit token files, addresses known, into int64 batches."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        entries = []
        for number in range(LOADER_FILES):
            with TokenWriter(folder / f"file-{number}", 50_000) as writer:
                tokens = np.random.default_rng(number).integers(0, 50_000, LOADER_TOKENS // LOADER_FILES)
                writer.write(tokens, np.full(len(tokens) // 1024, 1024))
            entries.append((f"file-{number}", len(tokens)))
        write_stream(folder / "all", entries)
        samples = open_samples(folder / "all", Store(folder), SEQUENCE_LENGTH, "concatenate")
        chosen = np.random.default_rng(0).permutation(samples.num_samples).tolist()
        arrays = [read_token_file(folder / name).tokens for name, _ in entries]
        out = np.empty((BATCH, SEQUENCE_LENGTH + 1), dtype=np.int64)

        def ours() -> None:
            for start in range(0, len(chosen), BATCH):
                for row, sample in zip(out, chosen[start : start + BATCH], strict=False):
                    samples.read(sample, row)

        per_file = LOADER_TOKENS // LOADER_FILES
        places = [divmod(sample * SEQUENCE_LENGTH, per_file) for sample in chosen]
        places = [(file, min(begin, per_file - SEQUENCE_LENGTH - 1)) for file, begin in places]

        def plain() -> None:
            for start in range(0, len(chosen), BATCH):
                for row, (file, begin) in zip(out, places[start : start + BATCH], strict=False):
                    row[:] = arrays[file][begin : begin + SEQUENCE_LENGTH + 1]

        taken: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(7):
            for name, function in (("ours", ours), ("plain", plain)):
                began = time.perf_counter()
                function()
                taken[name].append(time.perf_counter() - began)
        size = len(chosen) * (SEQUENCE_LENGTH + 1) * 2 / 1e6
        speed = {name: size / min(times) for name, times in taken.items()}
    return {
        "what": "random samples of 4,096 tokens from token files", "megabytes_per_second": speed,
        "share_of_plain_numpy": speed["ours"] / speed["plain"], "wanted_share": 0.7,
    }  # fmt: skip


def main() -> None:
    found = {"addresses": [addresses(300 * 10**9), addresses(15 * 10**12)], "loader": loader()}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
