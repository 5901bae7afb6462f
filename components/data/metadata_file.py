"""The table beside a shard's tokens: a row for each training document, in the order in which they were read."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1 << 16
COLUMNS = [
    pa.field("name", pa.string()), pa.field("tiers", pa.string()), pa.field("tokens", pa.int32()),
    pa.field("bytes", pa.int32()), pa.field("hash", pa.uint64()), pa.field("perplexity", pa.float32()),
]  # fmt: skip


class MetadataWriter:
    """A writer of the columns `name`, `tiers`, `tokens`, `bytes`, `hash` of the text, `perplexity` if it is scored, and
    the fields that the recipe keeps.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        kept = [pa.field(f"metadata.{name}", pa.string()) for name in fields]
        self.schema = pa.schema([*COLUMNS, *kept])
        self._writer = pq.ParquetWriter(path, self.schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(
        self, names: Sequence[str], tiers: Sequence[str], tokens: npt.NDArray[np.integer], sizes: Sequence[int],
        hashes: Sequence[int], perplexities: npt.NDArray[np.floating], metadata: Sequence[tuple[Any, ...]],
    ) -> None:  # fmt: skip
        others = [
            [None if row[at] is None else str(row[at]) for row in metadata]
            for at in range(len(self.schema) - len(COLUMNS))
        ]
        scores = pa.array(perplexities.astype(np.float32), from_pandas=True)  # NaN: no score
        columns = [names, tiers, tokens.astype(np.int32), sizes, hashes, scores, *others]
        self._waiting.append(pa.record_batch(columns, schema=self.schema))
        self._rows += len(names)
        if self._rows >= ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, schema=self.schema))
            self._waiting, self._rows = [], 0

    def __enter__(self) -> "MetadataWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
