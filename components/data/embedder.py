"""Texts to vectors of length one: hashed TF-IDF, which needs no model, or a sentence-transformers folder."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.store import read_json

TFIDF = "tfidf"
DIMENSIONS, FEATURES = 256, 1 << 18
FITTED_DOCUMENTS = 20_000
"""The first documents say how common each word is."""
MAX_TOKENS = 512
BATCH = 32

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of shape (texts, dimensions), each of length one."""


def open_embedder(name: str, documents: Callable[[], Iterable[str]]) -> Embedder:
    """Return an embedder: `tfidf`, or the path of a sentence-transformers folder. Raise BadInput."""
    return HashedTfidf(islice(documents(), FITTED_DOCUMENTS)) if name == TFIDF else SentenceTransformer(Path(name))


class HashedTfidf:
    """Words and pairs of words, hashed and weighted by their rarity, projected to DIMENSIONS at random (the same every
    time), which keeps cosines to some 6%.
    """

    def __init__(self, documents: Iterable[str]) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
        from sklearn.random_projection import SparseRandomProjection

        self._counts = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False, norm=None)
        counted = self._counts.transform(documents)
        self._weights = TfidfTransformer(sublinear_tf=True).fit(counted)
        projection = SparseRandomProjection(DIMENSIONS, random_state=0, dense_output=True)
        self._projection = projection.fit(counted[:1].astype(np.float64))

    def embed(self, texts: Sequence[str]) -> Vectors:
        weighted = self._weights.transform(self._counts.transform(texts))
        return _of_length_one(np.asarray(self._projection.transform(weighted.astype(np.float64)), dtype=np.float32))


class SentenceTransformer:
    """A transformer whose last states are averaged, or whose first one is taken, as its folder says."""

    def __init__(self, folder: Path) -> None:
        """Raise BadInput if the folder holds no such model."""
        from transformers import AutoModel, AutoTokenizer

        pooling = read_json(folder / "1_Pooling" / "config.json") or {"pooling_mode_mean_tokens": True}
        asked = {name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True}
        if not asked <= {"pooling_mode_mean_tokens", "pooling_mode_cls_token"} or len(asked) != 1:
            raise BadInput(
                "a pooling that is not known", file=str(folder / "1_Pooling" / "config.json"), field="embedder",
                given=", ".join(sorted(asked)), allowed="pooling_mode_mean_tokens or pooling_mode_cls_token",
            )  # fmt: skip
        self._first = "pooling_mode_cls_token" in asked
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise BadInput(f"not a sentence-transformers folder: {error}", file=str(folder), field="embedder") from None
        self._tokenizer.pad_token = self._tokenizer.pad_token or self._tokenizer.eos_token

    def embed(self, texts: Sequence[str]) -> Vectors:
        import torch

        found = []
        for start in range(0, len(texts), BATCH):
            batch = self._tokenizer(
                list(texts[start : start + BATCH]), padding=True, truncation=True, max_length=MAX_TOKENS,
                return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode():
                states = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None].to(states.dtype)
            pooled = states[:, 0] if self._first else (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            found.append(pooled.numpy())
        return _of_length_one(np.concatenate(found).astype(np.float32))


def _of_length_one(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12))
