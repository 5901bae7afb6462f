"""The step `blend`: sources joined from their shards, weights resolved against them; epochs and caps exact."""

from collections.abc import Iterable

from switchpoint.components.data.card import write_blend_card
from switchpoint.components.data.join import fetch_stream, join_shards
from switchpoint.components.data.shards import Corpora, shards_of
from switchpoint.components.data.streams import num_packed, pack_stream
from switchpoint.components.data.tokenise import shard_work, write_shards
from switchpoint.components.launch.task import sole_task
from switchpoint.components.recipe.epochs import check_sources
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import SourceKey, split_key
from switchpoint.components.recipe.stage import Phase
from switchpoint.components.store.store import Store


def build_blends(plan: Plan, store: Store, corpora: Corpora, file: str = "") -> None:
    """Write the record of every blend that draws nothing generated. Raise BadInput for a source that is too small."""
    join_sources(plan, store, corpora, plan.sources_at_hand())
    write_blends(plan, store, [phase for phase in plan.blends.values() if not plan.generated_in(phase)], file)


def tokenise_generated(plan: Plan, store: Store, name: str) -> None:
    """Tokenise a source whose text was generated, unless the store has its tokens. Raise what went wrong."""
    works = [shard_work(plan, store, {}, shard) for shard in shards_of(plan, {}, name)]
    for _, error in write_shards([] if store.is_done(plan.tokens[name]) else works):
        if error is not None:
            raise error
    join_sources(plan, store, {}, [name])


def join_sources(plan: Plan, store: Store, corpora: Corpora, names: Iterable[str]) -> None:
    """Write the records and streams of tokenised sources, and pack what is drawn packed."""
    packed = plan.packed_lengths()
    for name in names:
        with sole_task(store, f"join-{plan.tokens[name].digest}"):  # another study may draw from it too
            join_shards(plan, store, corpora, name)
            store.forget_failure(plan.tokens[name])  # a group's, whose shards another run has written since
            for key in [key for key in packed if split_key(key)[0] == name]:
                for length in sorted(packed[key]):
                    pack_stream(fetch_stream(plan, store, key), store, length)


def write_blends(plan: Plan, store: Store, phases: Iterable[Phase], file: str = "") -> None:
    """Write the record of the phases' blends: what the sampler draws from. Raise BadInput for a source that is too
    small, as far as sources are tokenised.
    """
    num_tokens = source_tokens(plan, store)
    check_sources(plan, num_tokens, file, packed=packed_samples(plan, store))
    for phase in phases:
        identity = phase.blend_identity
        with sole_task(store, f"weigh-{identity.digest}"):
            _write_blend(plan, store, phase, num_tokens)


def _write_blend(plan: Plan, store: Store, phase: Phase, num_tokens: dict[SourceKey, int]) -> None:
    identity = phase.blend_identity
    if store.is_done(identity):
        return
    with store.output(identity) as folder:
        sources = {
                key: {
                    "weight": str(weight), "tokens": num_tokens[key],
                    "stream": str(fetch_stream(plan, store, key).relative_to(store.root)),
                }
                for key, weight in phase.weights.items()
            }  # fmt: skip
        cards = {key: store.fetch_output(plan.tokens[key]) / "card.json" for key in phase.weights}
        write_blend_card(folder, phase.blend, phase.weights, cards)
        store.write_record(identity, folder, {"sources": sources})


def packed_samples(plan: Plan, store: Store) -> dict[tuple[SourceKey, int], int]:
    """Return the number of samples of what is packed already, by sequence length."""
    found: dict[tuple[SourceKey, int], int] = {}
    for key, lengths in plan.packed_lengths().items():
        for length in lengths:
            samples = num_packed(fetch_stream(plan, store, key), length)
            if samples is not None:
                found[key, length] = samples
    return found


def source_tokens(plan: Plan, store: Store) -> dict[SourceKey, int]:
    """Return the training tokens of the sources, and tiers, that are tokenised already."""
    found: dict[SourceKey, int] = {}
    for key in plan.drawn_sources():
        record = store.record(plan.tokens[key])
        if record is not None:
            found[key] = record["outputs"]["tokens"][split_key(key)[1] or "all"]
    return found
