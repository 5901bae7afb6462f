"""Training documents that share 13 words in a row with an evaluation set.

13 words: what Brown et al. (arXiv 2005.14165) look for. Words are letters and digits in lower case, so that neither
punctuation nor layout hides a copy.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.corpus_input import corpus_documents
from switchpoint.components.data.shards import Corpora
from switchpoint.components.recipe.evaluation import evaluation_origin
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import Source
from switchpoint.components.store.store import RECORD, Store, read_json

NUM_WORDS = 13
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_WORD = re.compile(r"\w+")
GRAMS = "grams.npy"

Hashes = npt.NDArray[np.uint64]


def gram_hashes(text: str) -> Hashes:
    """Return the hashes of every NUM_WORDS words in a row, shape (words - NUM_WORDS + 1,); empty for a shorter text."""
    words = np.array([zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())], dtype=np.uint64)
    if len(words) < NUM_WORDS:
        return np.empty(0, dtype=np.uint64)
    count = len(words) - NUM_WORDS + 1
    found = np.zeros(count, dtype=np.uint64)
    for offset in range(NUM_WORDS):
        found = found * _FACTOR + words[offset : offset + count] + np.uint64(1)
    return found


class EvaluationSets:
    """What evaluation sets hold, to be looked up: 8 bytes for each of their word sequences."""

    def __init__(self, grams: Hashes, task_of: npt.NDArray[np.int32], tasks: list[str]) -> None:
        self.grams, self.task_of, self.tasks = grams, task_of, tasks

    @classmethod
    def of(cls, sets: dict[str, Iterable[str]]) -> "tuple[EvaluationSets, dict[str, dict[str, int]]]":
        """Return the sets from the texts of each task; also how many texts there are, and how many are too short to be
        found.
        """
        hashes, owners, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], {}
        for number, (task, texts) in enumerate(sets.items()):
            counts[task] = {"texts": 0, "too_short": 0}
            for text in texts:
                grams = gram_hashes(text)
                counts[task]["texts"] += 1
                counts[task]["too_short"] += not len(grams)
                hashes.append(grams)
                owners.append(np.full(len(grams), number, dtype=np.int32))
        grams, first = np.unique(np.concatenate(hashes), return_index=True)
        return cls(grams, np.concatenate(owners)[first], list(sets)), counts

    def task_with(self, text: str) -> str | None:
        """Return the task that `text` shares words with, or None."""
        grams = gram_hashes(text)
        if not len(grams) or not len(self.grams):
            return None
        places = np.minimum(np.searchsorted(self.grams, grams), len(self.grams) - 1)
        shared = places[self.grams[places] == grams]
        return self.tasks[self.task_of[shared[0]]] if len(shared) else None

    def save(self, folder: Path) -> None:
        table = np.empty(len(self.grams), dtype=[("gram", "<u8"), ("task", "<i4")])
        table["gram"], table["task"] = self.grams, self.task_of
        np.save(folder / GRAMS, table)

    @classmethod
    def load(cls, folder: Path) -> "EvaluationSets":
        saved = np.load(folder / GRAMS)
        return cls(saved["gram"], saved["task"], list(read_json(folder / RECORD)["outputs"]["sets"]))


def read_evaluation_sets(plan: Plan, store: Store, corpora: Corpora) -> None:
    """Run the step `contamination`: read the evaluation sets, unless the store has them."""
    identity = plan.contamination
    if identity is None or store.is_done(identity):
        return
    sets, counts = EvaluationSets.of(
        {
            name: _texts(corpora, name, folder)
            for name, folder in plan.recipe.evaluation_sets.items()
        }
    )  # fmt: skip
    with store.output(identity) as folder:
        sets.save(folder)
        store.write_record(identity, folder, {"sets": counts, "sequences": len(sets.grams)})


def _texts(corpora: Corpora, name: str, folder: str) -> Iterator[str]:
    source = Source(folder=folder)
    corpus = corpora[evaluation_origin(folder)]
    for document in corpus_documents(corpus, source, f"evaluation_sets.{name}", whole_row=True):
        yield document.text
