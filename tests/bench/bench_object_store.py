"""Reading from an object store: `python -m tests.bench.bench_object_store` prints JSON.

The store is SeaweedFS on this machine, so its own work counts, too. Compare two versions of the client on a machine
that does nothing else. Tokens: samples of 4,097 at random, 64 ahead. Files: one of 256 MiB, read as a corpus is, and
downloaded.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from switchpoint.components.data.corpus import open_file
from switchpoint.components.data.remote_tokens import RemoteTokens
from switchpoint.components.data.token_file import TokenWriter
from switchpoint.components.store import remote
from tests.components.conftest import KEY, SECRET, serving

NUM_TOKENS, SAMPLE, NUM_SAMPLES, AHEAD = 16 * 2**20, 4_097, 2_000, 64
FILE_BYTES = 256 * 2**20
ROUNDS = 3


def best(work: Callable[[int], None]) -> float:
    """Return the seconds of the fastest round."""
    taken = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - began)
    return min(taken)


def measure(folder: Path, bucket: str) -> dict[str, float]:
    with TokenWriter(folder / "tokens", 50_000) as writer:
        ids = np.random.default_rng(0).integers(0, 50_000, NUM_TOKENS)
        writer.write(ids, np.full(NUM_TOKENS // 1024, 1024))
    (folder / "file").write_bytes(os.urandom(FILE_BYTES))
    remote.upload_all((folder / name, f"{bucket}/{name}") for name in ("tokens.bin", "tokens.idx", "file"))
    tokens = RemoteTokens(f"{bucket}/tokens")

    def samples(number: int) -> None:
        starts = np.random.default_rng(number).integers(0, NUM_TOKENS - SAMPLE, NUM_SAMPLES).tolist()
        for position, start in enumerate(starts):
            for ahead in starts[position + AHEAD : position + AHEAD + 1]:
                tokens.prefetch(slice(ahead, ahead + SAMPLE))
            assert len(tokens[start : start + SAMPLE]) == SAMPLE

    def stream(_: int) -> None:
        with open_file(bucket, "file") as file:
            assert sum(len(part) for part in iter(lambda: file.read(1 << 20), b"")) == FILE_BYTES

    def download(_: int) -> None:
        remote.download(f"{bucket}/file", folder / "downloaded")

    return {
        "samples_per_second": NUM_SAMPLES / best(samples),
        "corpus_megabytes_per_second": FILE_BYTES / 1e6 / best(stream),
        "download_megabytes_per_second": FILE_BYTES / 1e6 / best(download),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server").mkdir()
        with serving(folder / "server") as endpoint:
            os.environ |= {
                "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint,
                "AWS_DEFAULT_REGION": "us-east-1",
            }  # fmt: skip
            print(json.dumps(measure(folder, "s3://first-bucket"), indent=1))


if __name__ == "__main__":
    main()
