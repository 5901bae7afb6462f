"""The step `tokens`: shards of the sources become token files, several at a time."""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np

from switchpoint.components.data.contamination import EvaluationSets
from switchpoint.components.data.control_tokens import ControlTokens
from switchpoint.components.data.corpus import Corpus
from switchpoint.components.data.documents import read_documents
from switchpoint.components.data.duplicates import duplicates_file, shard_documents
from switchpoint.components.data.encoder import (
    Batch,
    Encoder,
    EngineDiffers,
    ReferenceEncoder,
    leading_ids,
    open_encoder,
    use_threads,
)
from switchpoint.components.data.heuristics import first_objection
from switchpoint.components.data.metadata_file import MetadataWriter
from switchpoint.components.data.packing import PACKED, pack_path
from switchpoint.components.data.quality import load_scorer
from switchpoint.components.data.readers import CorpusDocument, TextOptions
from switchpoint.components.data.shards import Corpora, Shard
from switchpoint.components.data.streams import fetch_packed_folder, pack_file
from switchpoint.components.data.token_file import TokenWriter
from switchpoint.components.data.tokenizer import load_tokenizer, num_ids
from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.launch.task import sole_task
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import Tier, origin_of, part_of, split_key
from switchpoint.components.store.store import RECORD, Store, read_json

BATCH_BYTES = 4 * 2**20
BATCH_DOCUMENTS = 4_096
MAX_LISTED = 100
"""The largest number of skipped documents that a record names; all are counted."""
WHOLE = "all"
"""The bucket of documents that no tier selects."""
HELDOUT, DOCUMENTS = "heldout.jsonl", "documents.parquet"


@dataclass(frozen=True, kw_only=True)
class ShardWork:
    """What a worker needs to write one shard."""

    shard: Shard
    store: Store
    tokenizer: Path
    corpus: Corpus | None
    text_file: Path | None
    """The file of the step `text`, if the source is not a corpus: its documents are training documents already."""
    options: TextOptions
    tiers: Mapping[str, Tier]
    scorer: Path | None
    """The folder of the model that scores the documents, where tiers depend on it."""
    filters: tuple[str, ...]
    duplicates: Path | None
    """The documents of the shard that repeat others, where those are left out."""
    evaluation_sets: Path | None
    """The folder of what evaluation sets hold, where documents that share it are left out."""
    control_tokens: ControlTokens
    """What a control token becomes that is written out in a text."""
    skip: bool
    sequence_lengths: tuple[int, ...]
    """The sequence lengths that the documents are packed into; none if they are concatenated."""


def shard_work(plan: Plan, store: Store, corpora: Corpora, shard: Shard) -> ShardWork:
    source = plan.recipe.sources[shard.source]
    origin = origin_of(source)
    corpus = corpora.get(origin)
    scorer, contamination = plan.scorers.get(shard.source), plan.contamination
    text = None if corpus else store.fetch_output(plan.texts[origin]) / "train" / f"{part_of(source)}.jsonl"
    return ShardWork(
        shard=shard, store=store, tokenizer=store.fetch_output(plan.tokenizer), corpus=corpus, text_file=text,
        options=TextOptions(text_field=source.text_field, metadata_fields=source.metadata_fields),
        tiers=source.tiers, scorer=store.fetch_output(scorer) if scorer else None,
        filters=source.filters,
        duplicates=duplicates_file(store.fetch_output(plan.duplicates[shard.source]), shard.number)
        if shard.source in plan.duplicates
        else None,
        evaluation_sets=store.fetch_output(contamination) if contamination and source.is_decontaminated else None,
        control_tokens=source.control_tokens,
        skip=source.on_error == "skip",
        sequence_lengths=packed_lengths(plan, shard.source),
    )  # fmt: skip


def packed_lengths(plan: Plan, name: str) -> tuple[int, ...]:
    """Return the sequence lengths that a source, or one of its tiers, is packed into."""
    found = [lengths for key, lengths in plan.packed_lengths().items() if split_key(key)[0] == name]
    return tuple(sorted(set().union(*found)))


def is_whole(store: Store, shard: Shard, sequence_lengths: tuple[int, ...]) -> bool:
    """Return whether a shard is written, and packed as it is needed."""
    record = store.record(shard.identity)
    return record is not None and all(
        store.exists(f"{pack_path(Path(shard.identity.path, bucket), length + 1).as_posix()}/{PACKED}")
        for bucket in record["outputs"]["buckets"]
        for length in sequence_lengths
    )


def write_shards(works: list[ShardWork]) -> Iterator[tuple[ShardWork, Exception | None]]:
    """Write the shards that are missing, as many at a time as there are processors; yield each with its error.

    What is written does not depend on how many work at once.
    """
    cores = len(os.sched_getaffinity(0))
    num_workers = min(cores, len(works))
    if num_workers <= 1:
        use_threads(cores)
        for work in works:
            yield work, _error_of(work)
        return
    # Spawned: the engines' threads do not survive a fork.
    with ProcessPoolExecutor(
        num_workers, get_context("spawn"), initializer=_begin_worker, initargs=(max(1, cores // num_workers),)
    ) as pool:
        yield from zip(works, pool.map(_error_of, works), strict=True)


def _begin_worker(num_threads: int) -> None:
    die_with_parent()
    use_threads(num_threads)


def _error_of(work: ShardWork) -> Exception | None:
    try:
        write_shard(work)
    except Exception as error:  # reported with its source; the other shards continue
        return error
    return None


def write_shard(work: ShardWork, encoder: Encoder | None = None) -> None:
    """Write a shard's token files, held-out text and documents' table, unless the store has them. Raise BadInput."""
    identity = work.shard.identity
    with sole_task(work.store, f"shard-{identity.digest}"):  # another run may write the same shard
        if not work.store.is_done(identity):
            try:
                _write(work, encoder or open_encoder(work.tokenizer, work.control_tokens), "")
            except EngineDiffers as error:
                _write(work, ReferenceEncoder(work.tokenizer, work.control_tokens), str(error))
        record = work.store.record(identity)
        assert record is not None
        for bucket in record["outputs"]["buckets"] if work.sequence_lengths else ():
            prefix = f"{identity.path}/{bucket}"
            for length in work.sequence_lengths:
                pack_file(work.store, prefix, fetch_packed_folder(Path(prefix), work.store, prefix, length), length)


def _write(work: ShardWork, encoder: Encoder, difference: str) -> None:
    with work.store.output(work.shard.identity) as folder:
        outputs = _ShardWriter(work, encoder, folder).write()
        engine = {"engine": encoder.name, "engine_difference": difference} if difference else {"engine": encoder.name}
        if not isinstance(encoder, ReferenceEncoder):
            engine["compared_documents"] = str(encoder.compared_documents)
        work.store.write_record(work.shard.identity, folder, outputs, engine)


class _ShardWriter:
    """A writer of one shard: a token file for each set of tiers that its documents belong to."""

    def __init__(self, work: ShardWork, encoder: Encoder, folder: Path) -> None:
        self.work, self.encoder, self.folder = work, encoder, folder
        tokenizer, self.end_of_document = load_tokenizer(work.tokenizer)
        self.vocab_size = num_ids(tokenizer)
        self.leading = np.array(leading_ids(tokenizer), dtype=np.uint32)
        self.scorer = load_scorer(work.scorer) if work.scorer else None
        self.bounds = read_json(work.scorer / RECORD)["outputs"]["bounds"] if work.scorer else {}
        self.writers: dict[str, TokenWriter] = {}
        self.objection = first_objection(work.filters)
        self.evaluation_sets = EvaluationSets.load(work.evaluation_sets) if work.evaluation_sets else None
        self.dropped: dict[str, int] = {}
        self.skipped: dict[str, int] = {}
        self.listed: list[str] = []
        self.num_heldout = self.heldout_bytes = self.num_bytes = 0
        self.num_control = self.num_with_control = 0

    def write(self) -> dict[str, Any]:
        """Write the shard; return its record. Reading, encoding and writing overlap."""
        with (
            MetadataWriter(self.folder / DOCUMENTS, self.work.options.metadata_fields) as table,
            (self.folder / HELDOUT).open("w", encoding="utf-8") as heldout,
            ThreadPoolExecutor(1) as worker,
        ):
            pending = None
            for batch in self._batches(heldout):
                following = batch, worker.submit(self.encoder.encode, [document.text for document in batch])
                if pending is not None:
                    self._keep(pending[0], pending[1].result(), table)
                pending = following
            if pending is not None:
                self._keep(pending[0], pending[1].result(), table)
        for writer in self.writers.values():
            writer.__exit__(None, None, None)
        return {
            "buckets": {
                name: {"tokens": writer.num_tokens, "documents": len(writer.lengths)}
                for name, writer in sorted(self.writers.items())
            },
            "bytes": self.num_bytes,
            "control_tokens": self.num_control, "documents_with_control_tokens": self.num_with_control,
            "heldout_documents": self.num_heldout, "heldout_bytes": self.heldout_bytes,
            "dropped": self.dropped, "skipped": self.skipped, "skipped_places": self.listed,
        }  # fmt: skip

    def _batches(self, heldout: IO[str]) -> Iterator[list[CorpusDocument]]:
        """Yield training documents; write the others to `heldout`."""
        batch: list[CorpusDocument] = []
        size = 0
        for document in self._documents():
            num_bytes = len(document.text)
            task = self.evaluation_sets.task_with(document.text) if self.evaluation_sets else None
            if task is not None:
                self._drop(f"contaminated: {task}")
                continue
            objection = self.objection(document.text)
            if objection is not None:
                self._drop(objection)
                continue
            if self.work.corpus and self.work.corpus.holds_out(document.hash, document.num_bytes):
                row = {"unit": document.name, "part": "text", "text": document.text}
                heldout.write(json.dumps(row, ensure_ascii=False) + "\n")
                self.num_heldout += 1
                self.heldout_bytes += len(document.text.encode())
                continue
            batch.append(document)
            size += num_bytes
            if size >= BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _documents(self) -> Iterator[CorpusDocument]:
        if self.work.text_file is not None:
            for one in read_documents(self.work.text_file):
                yield CorpusDocument(name=one.unit, text=one.text)
            return
        assert self.work.corpus is not None
        left_out = frozenset(np.load(self.work.duplicates).tolist()) if self.work.duplicates else frozenset()
        documents = shard_documents(self.work.corpus, self.work.shard, self.work.options, self._refuse)
        for ordinal, document in enumerate(documents):
            # The limit of the engine comes after the count: copies were counted without it.
            if ordinal in left_out:
                self._drop("duplicate")
            elif self._is_too_long(document.text):
                self._refuse(
                    BadInput(
                        "the document is too long for the tokenizer", file=f"{self.work.corpus.folder}/{document.name}",
                        allowed=f"at most {self.encoder.max_document_bytes:,} bytes",
                    )
                )  # fmt: skip
            else:
                yield document

    def _is_too_long(self, text: str) -> bool:
        limit = self.encoder.max_document_bytes
        return 4 * len(text) > limit and len(text.encode()) > limit

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _refuse(self, problem: BadInput) -> None:
        if not self.work.skip:
            field = problem.field or f"sources.{self.work.shard.source}"
            raise problem.at(problem.file, field, problem.line)
        kind = problem.problem.partition(" (")[0].partition(": ")[0]
        self.skipped[kind] = self.skipped.get(kind, 0) + 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(str(problem).replace("\n", "; "))

    def _keep(self, documents: list[CorpusDocument], encoded: Batch, table: MetadataWriter) -> None:
        """Append the end-of-document token to each document, put the tokenizer's own first tokens before it, and write
        it.
        """
        self.num_control += int(encoded.num_control.sum())
        self.num_with_control += int((encoded.num_control > 0).sum())
        lengths = np.diff(encoded.ends, prepend=0)
        begins = encoded.ends - lengths
        extra = len(self.leading) + 1
        whole = np.empty(len(encoded.ids) + extra * len(documents), dtype=np.uint32)
        starts = begins + extra * np.arange(len(documents))
        is_text = np.ones(len(whole), dtype=bool)
        for offset, token in enumerate(self.leading):
            whole[starts + offset], is_text[starts + offset] = token, False
        ends = starts + lengths + len(self.leading)
        whole[ends], is_text[ends] = self.end_of_document, False
        whole[is_text] = encoded.ids
        lengths = lengths + extra
        scores = self.scorer.perplexities(encoded.ids, encoded.ends) if self.scorer else np.full(len(documents), np.nan)
        names = [self._bucket(document.name, score) for document, score in zip(documents, scores, strict=True)]
        for bucket in sorted(set(names)):
            writer = self.writers.get(bucket)
            if writer is None:
                writer = self.writers[bucket] = TokenWriter(self.folder / bucket, self.vocab_size)
            chosen = np.array([name == bucket for name in names])
            ids = whole if chosen.all() else whole[np.repeat(chosen, lengths)]
            writer.write(ids, lengths[chosen])
        sizes = [len(document.text.encode()) for document in documents]
        self.num_bytes += sum(sizes)
        table.write(
            [document.name for document in documents], names, lengths, sizes,
            [document.hash for document in documents], scores, [document.metadata for document in documents],
        )  # fmt: skip

    def _bucket(self, name: str, score: float) -> str:
        tiers = [
            tier
            for tier, config in self.work.tiers.items()
            if any(fnmatchcase(one, config.documents) for one in (name, name.partition("#")[0]))
            and (config.best is None or score <= self.bounds[tier])
        ]
        return "+".join(sorted(tiers)) or WHOLE
