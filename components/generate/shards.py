"""Shards of generated text: each is sampled by itself, so that an interruption loses one of them at the most."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from switchpoint.components.recipe.fields import Config

SHARD_DOCUMENTS = 64
"""A shard holds the tokens of so many of the longest documents. What is sampled depends on it: with it, raise the
format of the kind `generated`."""

Uniforms = npt.NDArray[np.float64]
"""Numbers in [0, 1), one for each token that is sampled. Shape (documents, tokens of the longest)."""
Sample = Callable[[Uniforms], list[list[int]]]
"""Samples documents from numbers in [0, 1)."""


class GenerateJob(Config):
    """The file of a job: what its processes generate, and from what."""

    store: str
    """The store's folder or URL."""
    model: str
    """The model's path in the store, or the user's absolute one."""
    tokenizer: str
    """The tokenizer's path in the store."""
    folder: str
    """The folder of the shards in the store."""
    tokens: int
    temperature: float
    seed: int
    sequence_length: int

    def shard_tokens(self) -> list[int]:
        """Return the tokens of each shard, which sum to `tokens`."""
        whole, rest = divmod(self.tokens, SHARD_DOCUMENTS * self.sequence_length)
        return [SHARD_DOCUMENTS * self.sequence_length] * whole + ([rest] if rest else [])

    def files(self) -> list[str]:
        """Return the files of the shards, in order."""
        return [f"{self.folder}/shard-{number:06d}.json" for number in range(len(self.shard_tokens()))]


def shard_documents(
    sample: Sample, num_tokens: int, longest: int, batch_size: int, key: tuple[int, int]
) -> list[list[int]]:
    """Return the token ids of documents that hold `num_tokens` together; the last one is cut off there.

    `longest`: the most tokens of a document. `key`: the seed and the shard's number; with a document's own number they
    give the numbers that it is sampled from, so that it is the same in whatever batch.
    """
    found: list[list[int]] = []
    left, sampled = num_tokens, 0
    while left:
        mean = (num_tokens - left) / len(found) if found else longest
        count = min(batch_size, -int(-left // mean))
        for document in sample(_uniforms(key, sampled, count, longest)):
            if left:
                found.append(document[:left])
                left -= len(found[-1])
        sampled += count
    return found


def _uniforms(key: tuple[int, int], first: int, count: int, longest: int) -> Uniforms:
    return np.stack([np.random.default_rng([*key, first + n]).random(longest) for n in range(count)])


def as_data(documents: list[list[int]], end: int, decode: Callable[[list[int]], str]) -> dict[str, Any]:
    """Return a shard as its file holds it: texts without the end token, and what was sampled."""
    ended = [document[-1] == end for document in documents]
    texts = [
        decode(document[:-1] if is_ended else document) for document, is_ended in zip(documents, ended, strict=True)
    ]
    return {"texts": texts, "tokens": sum(map(len, documents)), "ended": sum(ended)}
