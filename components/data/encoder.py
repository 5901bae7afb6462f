"""Texts to token ids: `fastokens` where it gives the very ids of `tokenizers`, which it is compared with all along."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from switchpoint.components.data.control_tokens import ControlTokens, control_table, written_out
from switchpoint.components.data.tokenizer import load_tokenizer
from switchpoint.components.recipe.errors import BadInput

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
    num_control: Ends
    """How many control tokens are written out in each document's text."""


class _Encoder:
    """What both engines do about control tokens that are written out in a text."""

    def __init__(self, folder: Path, control_tokens: ControlTokens) -> None:
        self.tokenizer, _ = load_tokenizer(folder)
        self._control_tokens, self._is_control = control_tokens, control_table(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> Batch:
        """Return the ids of texts. Raise BadInput where a control token cannot be encoded as text."""
        ids, ends = self._encode(texts, as_text=False)
        # Where no control token is found, nothing would be encoded otherwise as text.
        counts = self._num_control(ids, ends)
        numbers = np.flatnonzero(counts).tolist()
        if self._control_tokens == "token" or not numbers:
            return Batch(ids, ends, counts)
        ids_as_text, ends_as_text = self._encode([texts[number] for number in numbers], as_text=True)
        if self._num_control(ids_as_text, ends_as_text).any():
            token = self.tokenizer.id_to_token(int(ids_as_text[self._is_control[ids_as_text]][0]))
            raise BadInput(
                "the tokenizer cannot encode a control token as text", field="control_tokens", given=token,
                allowed="`control_tokens: token` for the source, or text without it",
            )  # fmt: skip
        documents = np.split(ids, ends[:-1])
        for number, found in zip(numbers, np.split(ids_as_text, ends_as_text[:-1]), strict=True):
            documents[number] = found
        return Batch(np.concatenate(documents), np.cumsum([len(one) for one in documents], dtype=np.int64), counts)

    def _encode(self, texts: Sequence[str], *, as_text: bool) -> tuple[Ids, Ends]:
        raise NotImplementedError

    def _num_control(self, ids: Ids, ends: Ends) -> Ends:
        return np.diff(np.concatenate([[0], np.cumsum(self._is_control[ids], dtype=np.int64)])[ends], prepend=0)


class ReferenceEncoder(_Encoder):
    """`tokenizers` itself."""

    name = "tokenizers"
    max_document_bytes = 4 * 2**20
    """It takes some 150 bytes of memory for each."""

    def __init__(self, folder: Path, control_tokens: ControlTokens = "text") -> None:
        super().__init__(folder, control_tokens)

    def _encode(self, texts: Sequence[str], *, as_text: bool) -> tuple[Ids, Ends]:
        self.tokenizer.encode_special_tokens = as_text
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        found = [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]
        return np.concatenate(found), np.cumsum([len(ids) for ids in found], dtype=np.int64)


class FastEncoder(_Encoder):
    """`fastokens`, compared with `tokenizers`. Raise EngineDiffers on the first difference."""

    name = "fastokens"
    max_document_bytes = 16 * 2**20

    def __init__(self, folder: Path, control_tokens: ControlTokens = "text") -> None:
        import fastokens

        super().__init__(folder, control_tokens)
        self.fast = fastokens.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.fast.no_truncation()
        self.fast.no_padding()
        self._compared_documents = self._compared_characters = {False: 0, True: 0}
        for text in written_out(self.tokenizer):
            for as_text in (False, True):
                self._compare_one(text, self._ids_of(text, as_text), as_text)
        self._compared_documents, self._compared_characters = {False: 0, True: 0}, {False: 0, True: 0}

    @property
    def compared_documents(self) -> int:
        """The number of documents that were compared, without those that were encoded a second time, as text."""
        return self._compared_documents[False]

    def _encode(self, texts: Sequence[str], *, as_text: bool) -> tuple[Ids, Ends]:
        raw_ids, raw_offsets = self.fast.encode_batch_flat(
            list(texts), add_special_tokens=False, split_special_tokens=as_text
        )
        ids, ends = np.frombuffer(raw_ids, dtype="<u4"), np.frombuffer(raw_offsets, dtype="<u8")[1:].astype(np.int64)
        self._compare(texts, ids, ends, as_text)
        return ids, ends

    def _compare(self, texts: Sequence[str], ids: Ids, ends: Ends, as_text: bool) -> None:
        """Compare all documents at first, then one of each batch; the beginning of one if all are long. Those that are
        encoded as text are counted by themselves.
        """
        sampled, before = False, self._compared_documents[as_text]
        for number, text in enumerate(texts):
            begun = self._compared_characters[as_text] >= FIRST_CHARACTERS
            if sampled:
                break
            if len(text) <= (SAMPLE_CHARACTERS if begun else FIRST_CHARACTERS):
                begin = int(ends[number - 1]) if number else 0
                self._compare_one(text, ids[begin : ends[number]], as_text)
                sampled = begun
        if self._compared_documents[as_text] == before:
            start = texts[0][:SAMPLE_CHARACTERS]
            self._compare_one(start, self._ids_of(start, as_text), as_text)

    def _ids_of(self, text: str, as_text: bool) -> Ids:
        found = self.fast.encode(text, add_special_tokens=False, split_special_tokens=as_text).ids
        return np.array(found, dtype=np.uint32)

    def _compare_one(self, text: str, ids: Ids, as_text: bool) -> None:
        self.tokenizer.encode_special_tokens = as_text
        wanted = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not np.array_equal(ids, np.array(wanted, dtype=np.uint32)):
            raise EngineDiffers(f"fastokens differs from tokenizers for a document that begins {text[:60]!r}")
        self._compared_documents[as_text] += 1
        self._compared_characters[as_text] += len(text)


Encoder = ReferenceEncoder | FastEncoder


def open_encoder(folder: Path, control_tokens: ControlTokens = "text") -> Encoder:
    """Return the fastest encoder that can read the tokenizer in `folder`. Raise BadInput if none can."""
    load_tokenizer(folder)
    try:
        return FastEncoder(folder, control_tokens)
    except Exception:  # it raises plain Exception for a tokenizer of a kind that it does not know
        return ReferenceEncoder(folder, control_tokens)


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
