"""The streams of a source: its token files one after another, and those of each of its tiers."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.blend.packing import ensure_packed, pack_path
from components.blend.shards import Corpora, shards_of
from components.blend.token_file import read_token_file
from components.blend.tokenise import HELDOUT, WHOLE
from components.recipe.errors import BadInput
from components.recipe.plan import Plan
from components.recipe.source import SourceKey, split_key
from components.store.store import Store

STREAMS = "streams"


def join_shards(plan: Plan, store: Store, corpora: Corpora, name: str) -> None:
    """Writes a source's record and streams from its shards' records, unless the store has them. Raises BadInput."""
    identity, source = plan.tokens[name], plan.recipe.sources[name]
    if store.is_done(identity):
        return
    shards = shards_of(plan, corpora, name)
    records = [store.record(shard.identity) for shard in shards]
    missing = [shard.identity.path for shard, record in zip(shards, records, strict=True) if record is None]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(shards)} shards of {name} are missing: {missing[0]}")
    outputs = [record["outputs"] for record in records if record is not None]
    files: dict[str, list[tuple[str, int]]] = {tier: [] for tier in (WHOLE, *source.tiers)}
    if source.token_file:
        whole = read_token_file(Path(source.token_file))
        files[WHOLE].append((source.token_file, len(whole.tokens)))
    for shard, output in zip(shards, outputs, strict=True):
        for bucket, counts in output["buckets"].items():
            entry = (f"{shard.identity.path}/{bucket}", counts["tokens"])
            files[WHOLE].append(entry)
            for tier in set(bucket.split("+")) & set(source.tiers):
                files[tier].append(entry)
    _check_not_empty(plan, name, files, outputs)
    with store.output(identity) as folder:
        (folder / STREAMS).mkdir()
        for tier, entries in files.items():
            write_stream(folder / STREAMS / tier, entries)
        skipped: dict[str, int] = {}
        for output in outputs:
            for kind, count in output["skipped"].items():
                skipped[kind] = skipped.get(kind, 0) + count
        store.write_record(
            identity, folder,
            {
                "tokens": {tier: sum(tokens for _, tokens in entries) for tier, entries in files.items()},
                "documents": sum(counts["documents"] for one in outputs for counts in one["buckets"].values()),
                "bytes": sum(output["bytes"] for output in outputs),
                "heldout_documents": sum(output["heldout_documents"] for output in outputs),
                "heldout_bytes": sum(output["heldout_bytes"] for output in outputs),
                "skipped": skipped,
                "skipped_places": [place for output in outputs for place in output["skipped_places"]][:100],
                "shards": [shard.identity.path for shard in shards],
            },
        )  # fmt: skip


def _check_not_empty(
    plan: Plan, name: str, files: dict[str, list[tuple[str, int]]], outputs: list[dict[str, Any]]
) -> None:
    source = plan.recipe.sources[name]
    for tier, entries in files.items():
        if not sum(tokens for _, tokens in entries):
            if tier != WHOLE:
                raise BadInput(
                    "the tier's pattern fits no training document", field=f"sources.{name}.tiers.{tier}.documents",
                    given=source.tiers[tier].documents, allowed="a pattern over the documents' names, as `long/*`",
                )  # fmt: skip
            raise BadInput("no training document is left", field=f"sources.{name}", given=str(source.folder))
    if (source.folder or source.token_file) and not any(output["heldout_documents"] for output in outputs):
        raise BadInput(
            "no document is held out", field="heldout_fraction", given=plan.recipe.heldout_fraction,
            allowed=f"a larger fraction, so that a document of sources.{name} falls to the held-out side",
        )  # fmt: skip


def stream_path(plan: Plan, store: Store, key: SourceKey) -> Path:
    name, tier = split_key(key)
    return store.path(plan.tokens[name]) / STREAMS / (tier or WHOLE)


def heldout_files(plan: Plan, store: Store, name: str) -> list[Path]:
    """The held-out documents of a tokenised source whose text lies where the user keeps it."""
    record = store.record(plan.tokens[name])
    assert record is not None, name
    return [store.root / shard / HELDOUT for shard in record["outputs"]["shards"]]


def write_stream(path: Path, entries: list[tuple[str, int]]) -> None:
    """PATH.files.npy and PATH.ends.npy: what a reader needs, without reading any index. Paths as they are given."""
    np.save(path.with_name(path.name + ".files.npy"), np.array([prefix.encode() for prefix, _ in entries], dtype="S"))
    ends = np.cumsum([tokens for _, tokens in entries], dtype=np.int64)
    np.save(path.with_name(path.name + ".ends.npy"), ends)


def pack_stream(path: Path, root: Path, sequence_length: int) -> None:
    """Packs the documents of every token file of a stream into samples, unless that was done."""
    if num_packed(path, sequence_length) is not None:
        return
    counts = [
        ensure_packed(root / prefix, packed_folder(path, root, prefix, sequence_length), sequence_length + 1)
        for prefix in map(bytes.decode, file_prefixes(path))
    ]
    ends = np.cumsum(counts, dtype=np.int64)
    beside = path.with_name(f".{path.name}.packed.npy")
    np.save(beside, ends)
    beside.replace(packed_ends(path, sequence_length))


def num_packed(path: Path, sequence_length: int) -> int | None:
    """Samples of a packed stream; None where it is not packed yet."""
    ends = packed_ends(path, sequence_length)
    return int(np.load(ends, mmap_mode="r")[-1]) if ends.exists() else None


def packed_ends(path: Path, sequence_length: int) -> Path:
    """Where the number of samples in each file, added up, is written."""
    return path.with_name(f"{path.name}.packed-{sequence_length}.npy")


def file_prefixes(path: Path) -> npt.NDArray[np.bytes_]:
    """The token files of a stream, without `.bin` and `.idx`, left on the disk."""
    return np.load(path.with_name(path.name + ".files.npy"), mmap_mode="r")


def packed_folder(path: Path, root: Path, prefix: str, sequence_length: int) -> Path:
    """Beside the token file's index; of a token file that is not ours, beside the stream."""
    own = not Path(prefix).is_absolute()
    return pack_path(root / prefix if own else path.with_name("packed"), sequence_length + 1)
