"""The step `blend`: weights resolved against the token files; epochs and caps checked exactly."""

from components.recipe.epochs import check_sources
from components.recipe.plan import Plan
from components.recipe.source import SourceKey
from components.store.store import Store


def build_blends(plan: Plan, store: Store, file: str = "") -> None:
    """Writes the record of every blend: what the sampler draws from. Raises BadInput for a source too small."""
    num_tokens = source_tokens(plan, store)
    check_sources(plan, num_tokens, file)
    for phase in plan.blends.values():
        identity = phase.blend_identity
        if store.is_done(identity):
            continue
        with store.output(identity) as folder:
            sources = {
                key: {"weight": str(weight), "tokens": num_tokens[key], "path": plan.tokens[key].path}
                for key, weight in phase.weights.items()
            }
            store.write_record(identity, folder, {"sources": sources})


def source_tokens(plan: Plan, store: Store) -> dict[SourceKey, int]:
    """Training tokens of the sources, and tiers, that are tokenised already."""
    records = {key: store.record(plan.tokens[key]) for key in plan.drawn_sources()}
    return {name: record["outputs"]["tokens"] for name, record in records.items() if record is not None}
