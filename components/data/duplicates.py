"""The step `duplicates`: documents of a source that repeat another one, exactly or nearly, so that they are left out.

Exactly: by the hash of the text, 8 bytes of memory a document. Nearly: by datatrove's MinHash (5-grams of words, 14
buckets of 8 hashes: pairs that share 80% of them are found with a probability of 92%); one document of each cluster
stays.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.corpus import Corpus, check_unchanged
from switchpoint.components.data.readers import CorpusDocument, Refuse, TextOptions, read_piece
from switchpoint.components.data.shards import Corpora, Shard, shards_of
from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of
from switchpoint.components.store.store import Store

Ordinals = npt.NDArray[np.uint32]
"""The numbers of documents, in the order in which their shard is read."""


def find_duplicates(plan: Plan, store: Store, corpora: Corpora, name: str) -> None:
    """Write which documents of each shard of source `name` are left out, unless the store has it. Raise BadInput."""
    identity, source = plan.duplicates[name], plan.recipe.sources[name]
    if store.is_done(identity):
        return
    corpus, shards = corpora[origin_of(source)], shards_of(plan, corpora, name)
    options = TextOptions(text_field=source.text_field)
    work = [(corpus, shard, options, source.on_error == "skip") for shard in shards]
    with store.output(identity) as folder:
        found = _near(work) if source.deduplicate == "minhash" else _exact(work)
        for number, ordinals in enumerate(found):
            np.save(duplicates_file(folder, number), ordinals)
        store.write_record(identity, folder, {"duplicates": sum(map(len, found)), "shards": len(shards)})


def duplicates_file(folder: Path, shard_number: int) -> Path:
    return folder / f"{shard_number:06d}.npy"


Work = tuple[Corpus, Shard, TextOptions, bool]


def shard_documents(
    corpus: Corpus, shard: Shard, options: TextOptions, refuse: Refuse
) -> Iterator[CorpusDocument]:  # fmt: skip
    """Yield the documents of a shard, in order. Raise BadInput if a file is not the one that was planned."""
    files = {file.name: file for file in corpus.files}
    for piece in shard.pieces:
        check_unchanged(corpus.folder, files[piece.name])
        yield from read_piece(corpus, piece, options, refuse)


def _documents(work: Work) -> Iterator[CorpusDocument]:
    corpus, shard, options, skip = work

    def refuse(problem: BadInput) -> None:
        if not skip:
            raise problem.at(problem.file, problem.field or f"sources.{shard.source}", problem.line)

    return shard_documents(corpus, shard, options, refuse)


def _each(function: Any, work: list[Any]) -> list[Any]:
    """Return the result of `function` for each item, computed in as many processes as there are processors."""
    num_workers = min(len(os.sched_getaffinity(0)), len(work))
    if num_workers <= 1:
        return [function(one) for one in work]
    with ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=die_with_parent) as pool:
        return list(pool.map(function, work))


def _hashes(work: Work) -> npt.NDArray[np.uint64]:
    return np.fromiter((document.hash for document in _documents(work)), dtype=np.uint64)


def _exact(work: list[Work]) -> list[Ordinals]:
    """Return all but the first of equal documents."""
    hashes = _each(_hashes, work)
    sizes = [len(one) for one in hashes]
    repeats = np.ones(sum(sizes), dtype=bool)
    repeats[np.unique(np.concatenate(hashes), return_index=True)[1]] = False
    parts = np.split(repeats, np.cumsum(sizes)[:-1])
    return [np.flatnonzero(part).astype(np.uint32) for part in parts]


def _sign(job: tuple[Work, int, str]) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature

    work, number, folder = job
    _quiet()
    documents = (Document(text=one.text, id=one.name) for one in _documents(work))
    MinhashDedupSignature(folder, _minhash()).run(documents, number, number + 1)


def _near(work: list[Work]) -> list[Ordinals]:
    """Return all but one of each cluster of near duplicates."""
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster

    _quiet()
    config = _minhash()
    with tempfile.TemporaryDirectory(prefix="switchpoint-") as temporary:
        signatures, pairs, removed = (str(Path(temporary) / name) for name in ("signatures", "pairs", "removed"))
        _each(_sign, [(one, number, signatures) for number, one in enumerate(work)])
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(signatures, pairs, config=config).run(None, bucket, config.num_buckets)
        MinhashDedupCluster(pairs, removed, config).run(None, 0, 1)
        files = [Path(removed) / f"{number:06d}.remove" for number in range(len(work))]
        return [np.fromfile(file, dtype="<u4") if file.exists() else np.empty(0, "<u4") for file in files]


def _minhash() -> Any:
    """Return datatrove's MinHash with SHA-1, because its call of xxhash fits only some of its releases."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    return MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))


def _quiet() -> None:
    from loguru import logger

    logger.remove()
    logging.getLogger("datatrove").setLevel(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
