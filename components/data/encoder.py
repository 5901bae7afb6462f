"""Texts to token ids: `fastokens` where it gives the very ids of `tokenizers`, which it is compared with all along."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from switchpoint.components.data.tokenizer import load_tokenizer

Ids = npt.NDArray[np.uint32]
Ends = npt.NDArray[np.int64]

FIRST_CHARACTERS = 1 << 17
"""Documents are compared one by one until this many characters were compared."""
SAMPLE_CHARACTERS = 1 << 13
"""After that, one document of at most this length in every batch."""


class EngineDiffers(RuntimeError):
    """`fastokens` gave other ids than `tokenizers` for a document."""


@dataclass(frozen=True)
class Batch:
    """Token ids of several documents, one after another; document i is ids[ends[i - 1]:ends[i]]."""

    ids: Ids
    ends: Ends


class ReferenceEncoder:
    """`tokenizers` itself."""

    name = "tokenizers"
    max_document_bytes = 4 * 2**20
    """It takes some 150 bytes of memory for each."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer, _ = load_tokenizer(folder)

    def encode(self, texts: Sequence[str]) -> Batch:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        found = [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]
        return Batch(np.concatenate(found), np.cumsum([len(ids) for ids in found], dtype=np.int64))


class FastEncoder:
    """`fastokens`, compared with `tokenizers`. Raise EngineDiffers on the first difference."""

    name = "fastokens"
    max_document_bytes = 16 * 2**20

    def __init__(self, folder: Path) -> None:
        import fastokens

        self.tokenizer, _ = load_tokenizer(folder)
        self.fast = fastokens.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.fast.no_truncation()
        self.fast.no_padding()
        self.compared_documents = self.compared_characters = 0

    def encode(self, texts: Sequence[str]) -> Batch:
        raw_ids, raw_offsets = self.fast.encode_batch_flat(list(texts), add_special_tokens=False)
        batch = Batch(np.frombuffer(raw_ids, dtype="<u4"), np.frombuffer(raw_offsets, dtype="<u8")[1:].astype(np.int64))
        self._compare(texts, batch)
        return batch

    def _compare(self, texts: Sequence[str], batch: Batch) -> None:
        """Compare all documents at first, then one of each batch; the beginning of one if all are long."""
        sampled, before = False, self.compared_documents
        for number, text in enumerate(texts):
            begun = self.compared_characters >= FIRST_CHARACTERS
            if sampled:
                break
            if len(text) <= (SAMPLE_CHARACTERS if begun else FIRST_CHARACTERS):
                begin = int(batch.ends[number - 1]) if number else 0
                self._compare_one(text, batch.ids[begin : batch.ends[number]])
                sampled = begun
        if self.compared_documents == before:
            start = texts[0][:SAMPLE_CHARACTERS]
            self._compare_one(start, np.array(self.fast.encode(start, add_special_tokens=False).ids, dtype=np.uint32))

    def _compare_one(self, text: str, ids: Ids) -> None:
        wanted = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not np.array_equal(ids, np.array(wanted, dtype=np.uint32)):
            raise EngineDiffers(f"fastokens differs from tokenizers for a document that begins {text[:60]!r}")
        self.compared_documents += 1
        self.compared_characters += len(text)


Encoder = ReferenceEncoder | FastEncoder


def open_encoder(folder: Path) -> Encoder:
    """Return the fastest encoder that can read the tokenizer in `folder`. Raise BadInput if none can."""
    load_tokenizer(folder)
    try:
        return FastEncoder(folder)
    except Exception:  # it raises plain Exception for a tokenizer of a kind that it does not know
        return ReferenceEncoder(folder)


def leading_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids that the tokenizer itself puts before a text: its beginning-of-document token, if it has one."""
    return ids_before(
        tokenizer.encode("a", add_special_tokens=True).ids, tokenizer.encode("a", add_special_tokens=False).ids
    )


def ids_before(whole: list[int], part: list[int]) -> list[int]:
    """Return what stands before `part` in `whole`; nothing if it is not in there."""
    for start in range(len(whole) - len(part) + 1):
        if whole[start : start + len(part)] == part:
            return whole[:start]
    return []


def use_threads(num_threads: int) -> None:
    """Set the number of threads that either engine uses in this process; possible before the first text only."""
    os.environ["RAYON_NUM_THREADS"] = str(num_threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if num_threads > 1 else "false"
