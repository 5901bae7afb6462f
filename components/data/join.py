"""A source from its shards: its record, and the streams of itself and of its tiers."""

from pathlib import Path
from typing import Any

import numpy as np

from switchpoint.components.data.card import write_card
from switchpoint.components.data.remote_tokens import read_any_index
from switchpoint.components.data.shards import Corpora, shards_of
from switchpoint.components.data.streams import write_stream
from switchpoint.components.data.tokenise import DOCUMENTS, HELDOUT, WHOLE
from switchpoint.components.data.tokenizer import load_tokenizer
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import SourceKey, split_key
from switchpoint.components.store.store import Store

STREAMS = "streams"


def join_shards(plan: Plan, store: Store, corpora: Corpora, name: str) -> None:
    """Write a source's record and streams from its shards' records, unless the store has them. Raise BadInput."""
    identity, source = plan.tokens[name], plan.recipe.sources[name]
    if store.is_done(identity):
        if source.token_file:  # the same tokens may be at another path now
            total = int(read_any_index(source.token_file)[1].sum(dtype=np.int64))
            write_stream(store.fetch_output(identity) / STREAMS / WHOLE, [(source.token_file, total)])
            store.save(store.fetch_output(identity) / STREAMS)
        return
    shards = shards_of(plan, corpora, name)
    records = [store.record(shard.identity) for shard in shards]
    missing = [shard.identity.path for shard, record in zip(shards, records, strict=True) if record is None]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(shards)} shards of {name} are missing: {missing[0]}")
    outputs = [record["outputs"] for record in records if record is not None]
    files: dict[str, list[tuple[str, int]]] = {tier: [] for tier in (WHOLE, *source.tiers)}
    if source.token_file:
        files[WHOLE].append((source.token_file, int(read_any_index(source.token_file)[1].sum(dtype=np.int64))))
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
        facts = {
            "tokens": {tier: sum(tokens for _, tokens in entries) for tier, entries in files.items()},
            "documents": sum(counts["documents"] for one in outputs for counts in one["buckets"].values()),
            "bytes": sum(output["bytes"] for output in outputs),
            "control_tokens": {
                "become": source.control_tokens,
                "number": sum(output["control_tokens"] for output in outputs),
                "documents": sum(output["documents_with_control_tokens"] for output in outputs),
            },
            "heldout_documents": sum(output["heldout_documents"] for output in outputs),
            "heldout_bytes": sum(output["heldout_bytes"] for output in outputs),
            "dropped": _added(outputs, "dropped"),
            "skipped": _added(outputs, "skipped"),
            "skipped_places": [place for output in outputs for place in output["skipped_places"]][:100],
            "engine_differences": [
                record["environment"]["engine_difference"]
                for record in records
                if record is not None and "engine_difference" in record["environment"]
            ],
            "shards": [shard.identity.path for shard in shards],
        }
        tokenizer, _ = load_tokenizer(store.fetch_output(plan.tokenizer))
        write_card(
            folder,
            name,
            facts,
            source.language,
            [store.fetch_file(f"{shard}/{DOCUMENTS}") for shard in facts["shards"]],
            [store.token_location(prefix) for prefix, tokens in files[WHOLE] if tokens],
            tokenizer,
        )
        store.write_record(identity, folder, facts)


def _added(outputs: list[dict[str, Any]], counts: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for output in outputs:
        for kind, count in output[counts].items():
            found[kind] = found.get(kind, 0) + count
    return found


def _check_not_empty(
    plan: Plan, name: str, files: dict[str, list[tuple[str, int]]], outputs: list[dict[str, Any]]
) -> None:
    source = plan.recipe.sources[name]
    for tier, entries in files.items():
        if not sum(tokens for _, tokens in entries):
            if tier != WHOLE:
                raise BadInput(
                    "the tier holds no training document", field=f"sources.{name}.tiers.{tier}",
                    given=source.tiers[tier].documents, allowed="a pattern over the documents' names, as `long/*`",
                )  # fmt: skip
            raise BadInput("no training document is left", field=f"sources.{name}", given=str(source.folder))
    if (source.folder or source.token_file) and not any(output["heldout_documents"] for output in outputs):
        raise BadInput(
            "no document is held out", field="heldout_fraction", given=plan.recipe.heldout_fraction,
            allowed=f"a larger fraction, or rules that leave a held-out document of sources.{name}",
        )  # fmt: skip


def fetch_stream(plan: Plan, store: Store, key: SourceKey) -> Path:
    name, tier = split_key(key)
    return store.fetch_output(plan.tokens[name]) / STREAMS / (tier or WHOLE)


def fetch_heldout_files(plan: Plan, store: Store, name: str) -> list[Path]:
    """Fetch the held-out documents of a tokenised source whose text stays in the user's folder."""
    record = store.record(plan.tokens[name])
    assert record is not None, name
    return [store.fetch_file(f"{shard}/{HELDOUT}") for shard in record["outputs"]["shards"]]
