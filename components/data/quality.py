"""The step `scorer`: a model of a reference corpus, and the perplexities that bound a source's tiers."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from switchpoint.components.data.control_tokens import ControlTokens
from switchpoint.components.data.corpus_input import SAMPLE_BYTES, corpus_documents
from switchpoint.components.data.encoder import Batch, EngineDiffers, ReferenceEncoder, open_encoder
from switchpoint.components.data.perplexity import NgramModel, bound_of_best
from switchpoint.components.data.readers import CorpusDocument
from switchpoint.components.data.shards import Corpora
from switchpoint.components.data.tokenizer import load_tokenizer, num_ids
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of, reference_origin
from switchpoint.components.store.store import Store

REFERENCE_BYTES = 256 * 2**20
"""The number of bytes that are read of the reference corpus, from its beginning."""
BATCH_DOCUMENTS, BATCH_CHARACTERS = 256, 4 * 2**20
MODEL = "ngrams.npz"


def train_scorer(plan: Plan, store: Store, corpora: Corpora, name: str) -> None:
    """Train the model that scores the documents of source `name`, unless the store has it."""
    identity, source = plan.scorers[name], plan.recipe.sources[name]
    if store.is_done(identity):
        return
    folder = store.fetch_output(plan.tokenizer)
    tokenizer, _ = load_tokenizer(folder)
    reference = corpora[reference_origin(source)]
    corpus = corpora[origin_of(source)]
    model = NgramModel(num_ids(tokenizer))
    documents = _first(corpus_documents(reference, source, f"sources.{name}.reference"), REFERENCE_BYTES)
    num_tokens = 0
    for batch in _encoded(folder, (document.text for document in documents), source.control_tokens):
        model.train(np.split(batch.ids, batch.ends[:-1]))
        num_tokens += len(batch.ids)
    training = (
        document.text
        for document in _first(corpus_documents(corpus, source, f"sources.{name}.folder"), SAMPLE_BYTES)
        if not corpus.holds_out(document.hash, document.num_bytes)
    )
    scores, sizes = [], []
    for batch in _encoded(folder, training, source.control_tokens):
        scores.append(model.perplexities(batch.ids, batch.ends))
        sizes.append(np.diff(batch.ends, prepend=0))
    if not scores:
        raise BadInput("no training document to score", field=f"sources.{name}.reference", given=corpus.folder)
    bounds = {
        tier: bound_of_best(np.concatenate(scores), np.concatenate(sizes), config.best)
        for tier, config in source.tiers.items()
        if config.best is not None
    }
    with store.output(identity) as output:
        model.save(output / MODEL)
        store.write_record(
            identity, output,
            {"bounds": bounds, "reference_tokens": num_tokens, "sampled_documents": sum(map(len, scores))},
        )  # fmt: skip


def load_scorer(folder: Path) -> NgramModel:
    return NgramModel.load(folder / MODEL)


def _first(documents: Iterable[CorpusDocument], num_bytes: int) -> Iterator[CorpusDocument]:
    taken = 0
    for document in documents:
        yield document
        taken += document.num_bytes
        if taken >= num_bytes:
            return


def _encoded(folder: Path, texts: Iterable[str], control_tokens: ControlTokens) -> Iterator[Batch]:
    encoder = open_encoder(folder, control_tokens)
    for batch in _batches(texts):
        try:
            yield encoder.encode(batch)
        except EngineDiffers:
            encoder = ReferenceEncoder(folder, control_tokens)
            yield encoder.encode(batch)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH_DOCUMENTS or sum(map(len, batch)) >= BATCH_CHARACTERS:
            yield batch
            batch = []
    if batch:
        yield batch
