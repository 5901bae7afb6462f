"""How much a document is like a reference corpus: its perplexity under a small n-gram model of that corpus.

Choosing the documents of lowest perplexity is what arXiv 2406.14833 does (there with KenLM).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]
TABLE_BITS = 22
"""The bits of the hashes by which bigrams and trigrams are counted: collisions only make rare ones look a little less
so."""
BACK_OFF = 0.3
"""The weight of the next shorter context, at each order (Jelinek-Mercer)."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


class NgramModel:
    """Counts of tokens, pairs and triples."""

    def __init__(self, vocab_size: int) -> None:
        self.singles = np.zeros(vocab_size, dtype=np.int64)
        self.pairs = np.zeros(1 << TABLE_BITS, dtype=np.uint32)
        self.triples = np.zeros(1 << TABLE_BITS, dtype=np.uint32)

    def train(self, documents: Iterable[Ids]) -> None:
        for ids in documents:
            self.singles += np.bincount(ids, minlength=len(self.singles))
            pairs, triples = _hashes(ids)
            np.add.at(self.pairs, pairs, 1)
            np.add.at(self.triples, triples, 1)

    def perplexities(self, ids: Ids, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the perplexity of each document, ids[ends[i - 1]:ends[i]]; the first tokens of one have less context.
        Shape (N,).
        """
        counts = self.singles[ids]
        probability = (counts + 1) / (self.singles.sum() + len(self.singles))
        pairs, triples = _hashes(ids)
        begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        place = np.arange(len(ids)) - np.repeat(begins, np.diff(ends, prepend=0))
        seen_pairs = self.pairs[pairs]
        for context, seen, order in ((counts[:-1], seen_pairs, 1), (seen_pairs[:-1], self.triples[triples], 2)):
            known = (context > 0) & (place[order:] >= order)
            longer = (1 - BACK_OFF) * np.minimum(1, seen / np.maximum(context, 1)) + BACK_OFF * probability[order:]
            probability[order:] = np.where(known, longer, probability[order:])
        logs = np.concatenate([[0.0], np.cumsum(np.log(probability))])
        found = np.exp((logs[begins] - logs[ends]) / np.maximum(1, ends - begins))
        return np.where(ends > begins, found, np.inf)

    def save(self, path: Path) -> None:
        np.savez(path, singles=self.singles, pairs=self.pairs, triples=self.triples)

    @classmethod
    def load(cls, path: Path) -> "NgramModel":
        with np.load(path) as saved:
            found = cls(len(saved["singles"]))
            found.singles, found.pairs, found.triples = saved["singles"], saved["pairs"], saved["triples"]
        return found


def _hashes(ids: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices into the tables of every pair, shape (n - 1,), and triple, shape (n - 2,)."""
    wide = ids.astype(np.uint64) + np.uint64(1)
    shift = np.uint64(64 - TABLE_BITS)
    pairs = wide[:-1] * _MIX + wide[1:]
    triples = (pairs[:-1] * _MIX) ^ wide[2:]
    return ((pairs * _MIX) >> shift).astype(np.int64), ((triples * _MIX) >> shift).astype(np.int64)


def bound_of_best(perplexities: npt.NDArray[np.float64], sizes: npt.NDArray[np.integer], share: float) -> float:
    """Return the perplexity up to which documents hold `share` of all tokens; `sizes`: tokens of each."""
    order = np.argsort(perplexities, kind="stable")
    held = np.cumsum(sizes[order])
    return float(perplexities[order][np.searchsorted(held, share * held[-1])])
