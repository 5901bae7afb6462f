"""Shards: the parts of a source that are tokenised by themselves, whatever the number of workers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from switchpoint.components.data.corpus import Corpus
from switchpoint.components.data.readers import Piece, can_be_split
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import is_made, origin_of, part_of

SHARD_BYTES = 256 * 2**20
"""The bytes of input files in a shard, compressed or not. JSON lines that are not compressed are cut into shards, other
files stay whole."""
MAX_GROUPS = 40
GROUP_BYTES = 2**30
"""The least number of bytes for a task of the loop."""

Corpora = Mapping[str, Corpus]
"""The corpora, by the origin of a source's text."""


def read_corpora(data: Mapping[str, Any]) -> Corpora:
    """Return the corpora that the plan's file holds."""
    return {origin: Corpus.of_data(one) for origin, one in data.items()}


@dataclass(frozen=True, kw_only=True)
class Shard:
    source: str
    number: int
    identity: Identity
    pieces: tuple[Piece, ...]
    """The pieces of the corpus; none if the step `text` has written the text."""
    num_bytes: int


def shards_of(plan: Plan, corpora: Corpora, name: str) -> list[Shard]:
    """Return all shards of a source, in the order of its tokens."""
    source = plan.recipe.sources[name]
    tiers = {tier: config.documents for tier, config in source.tiers.items()}
    inputs = {"tokenizer": plan.tokenizer} | ({"scorer": plan.scorers[name]} if name in plan.scorers else {})
    if name in plan.duplicates:
        inputs["duplicates"] = plan.duplicates[name]
    if plan.contamination is not None and source.is_decontaminated:
        inputs["contamination"] = plan.contamination
    origin = origin_of(source)
    if is_made(origin):
        config: dict[str, Any] = {"part": part_of(source), "tiers": tiers} | source.encoding
        identity = _identity(config, inputs | {"text": plan.texts[origin]})
        return [Shard(source=name, number=0, identity=identity, pieces=(), num_bytes=0)]
    corpus = corpora[origin]
    shared = {
        "text_field": source.text_field, "metadata_fields": source.metadata_fields, "tiers": tiers,
        "filters": source.filters, "on_error": source.on_error, "heldout_below": str(corpus.heldout_below),
        "heldout_max_bytes": corpus.heldout_max_bytes,
        **source.encoding,
    }  # fmt: skip
    return [
        Shard(
            source=name, number=number, pieces=pieces, num_bytes=num_bytes,
            identity=_identity(
                shared | {"pieces": [[one.name, one.digest, one.start, one.end] for one in pieces]}, inputs
            ),
        )
        for number, (pieces, num_bytes) in enumerate(layout(corpus))
    ]  # fmt: skip


def _identity(config: Mapping[str, object], inputs: Mapping[str, Identity]) -> Identity:
    return identity_of("shard", config, inputs)


def layout(corpus: Corpus) -> Iterator[tuple[tuple[Piece, ...], int]]:
    """Yield the pieces of each shard, and their bytes: small files together, large JSON lines cut."""
    pieces: list[Piece] = []
    size = 0
    for file in corpus.files:
        if pieces and size + file.num_bytes > SHARD_BYTES:
            yield tuple(pieces), size
            pieces, size = [], 0
        if file.num_bytes > SHARD_BYTES and can_be_split(file.name):
            for start in range(0, file.num_bytes, SHARD_BYTES):
                end = min(start + SHARD_BYTES, file.num_bytes)
                yield (Piece(name=file.name, digest=file.digest, start=start, end=end),), end - start
        else:
            pieces.append(Piece(name=file.name, digest=file.digest))
            size += file.num_bytes
    if pieces:
        yield tuple(pieces), size


def groups_of(sizes: list[int]) -> int:
    """Return the number of tasks over which the missing shards, of so many bytes, are divided."""
    wanted = -(-sum(sizes) // GROUP_BYTES)
    return max(1, min(MAX_GROUPS, len(sizes), wanted)) if sizes else 0
