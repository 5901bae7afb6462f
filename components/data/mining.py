"""The step `mined`: the training documents nearest to QA examples, as a source of their own.

The QA examples are the queries: each takes its `nearest` documents of the sources that are mined, by the cosine of
their embeddings; what any of them takes makes up the source, with its best score.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from switchpoint.components.data.corpus_input import corpus_documents
from switchpoint.components.data.documents import Document, read_documents, write_documents
from switchpoint.components.data.embedder import Embedder, open_embedder
from switchpoint.components.data.shards import Corpora
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import is_made, origin_of, part_of
from switchpoint.components.store.store import Store

BATCH_DOCUMENTS = 512
MAX_QUERIES = 100_000
SCORES = "scores.parquet"

Scores = npt.NDArray[np.float32]


def mine(plan: Plan, store: Store, corpora: Corpora, name: str) -> None:
    """Write the documents that source `name` mines from others, unless the store has them. Raise BadInput."""
    identity, config = _identity(plan, name), plan.recipe.sources[name].mine
    assert config is not None
    if store.is_done(identity):
        return
    texts = plan.recipe.sources_with_text()
    queries = [one.text for like in config.like if like in texts for one in _training(plan, store, corpora, like)]
    mined = [source for source in config.sources if source in texts]
    embedder = open_embedder(
        config.embedder, lambda: (one.text for source in mined for one in _training(plan, store, corpora, source))
    )
    wanted = embedder.embed(queries[:MAX_QUERIES])
    best, rows = _nearest(wanted, _candidates(plan, store, corpora, mined, embedder), config.nearest)
    chosen = {int(row): 0.0 for row in rows[rows >= 0]}
    for row, score in zip(rows[rows >= 0].tolist(), best[rows >= 0].tolist(), strict=True):
        chosen[row] = max(chosen[row], score)
    found: list[tuple[Document, str, float]] = []
    seen: set[str] = set()
    documents = ((source, one) for source in mined for one in _training(plan, store, corpora, source))
    for row, (source, one) in enumerate(documents):
        if row in chosen and one.text not in seen:
            seen.add(one.text)
            found.append((Document(unit=f"{source}/{one.unit}", part="text", text=one.text), source, chosen[row]))
    if not found:
        raise BadInput("nothing was mined", field=f"sources.{name}.mine", given=f"{len(queries)} QA documents")
    with store.output(identity) as folder:
        write_documents(folder / "train" / "text.jsonl", (document for document, _, _ in found))
        table = {
            "name": [document.unit for document, _, _ in found], "source": [source for _, source, _ in found],
            "score": [score for _, _, score in found],
        }  # fmt: skip
        pq.write_table(pa.table(table), folder / SCORES)
        counts = {source: sum(one == source for _, one, _ in found) for source in mined}
        store.write_record(identity, folder, {"documents": counts, "queries": min(len(queries), MAX_QUERIES)})


def _identity(plan: Plan, name: str) -> Identity:
    return plan.texts[origin_of(plan.recipe.sources[name])]


def _training(plan: Plan, store: Store, corpora: Corpora, name: str) -> Iterator[Document]:
    """Yield the training documents of a source, in order."""
    source = plan.recipe.sources[name]
    origin = origin_of(source)
    if is_made(origin):
        yield from read_documents(store.fetch_output(plan.texts[origin]) / "train" / f"{part_of(source)}.jsonl")
        return
    for document in corpus_documents(corpora[origin], source, f"sources.{name}.folder"):
        if not corpora[origin].holds_out(document.hash, document.num_bytes):
            yield Document(unit=document.name, part="text", text=document.text)


def _candidates(
    plan: Plan, store: Store, corpora: Corpora, names: list[str], embedder: Embedder
) -> Iterator[Scores]:  # fmt: skip
    """Yield embeddings of all documents, a batch at a time."""
    batch: list[str] = []
    for name in names:
        for document in _training(plan, store, corpora, name):
            batch.append(document.text)
            if len(batch) == BATCH_DOCUMENTS:
                yield embedder.embed(batch)
                batch = []
    if batch:
        yield embedder.embed(batch)


def _nearest(queries: Scores, candidates: Iterator[Scores], nearest: int) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Return scores and numbers of the `nearest` candidates of each query, the best first; number -1 where there are
    fewer.

    Only the best so far are kept, so memory does not grow with the candidates.
    """
    import faiss

    scores = np.full((len(queries), nearest), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), nearest), -1, dtype=np.int64)
    first = 0
    for batch in candidates:
        near, places = faiss.knn(queries, batch, min(nearest, len(batch)), metric=faiss.METRIC_INNER_PRODUCT)
        all_scores, all_rows = np.hstack([scores, near]), np.hstack([rows, places + first])
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :nearest]
        scores, rows = np.take_along_axis(all_scores, order, 1), np.take_along_axis(all_rows, order, 1)
        first += len(batch)
    return scores, rows
