"""Token files for tests."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from switchpoint.components.data.token_file import TokenWriter


def write_token_file(prefix: Path, documents: Iterable[Sequence[int]], vocab_size: int) -> None:
    with TokenWriter(prefix, vocab_size) as writer:
        for document in documents:
            writer.write(np.array(document, dtype=np.int64), np.array([len(document)]))
