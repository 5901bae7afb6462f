"""The step `blend`: weights resolved against the token files; epochs and caps checked exactly."""

from components.recipe.epochs import check_sources
from components.recipe.plan import Plan
from components.store.store import Store


def build_blends(plan: Plan, store: Store, file: str = "") -> None:
    """Writes the record of every blend: what the sampler draws from. Raises BadInput for a source too small."""
    num_tokens = source_tokens(plan, store)
    check_sources(plan, num_tokens, file)
    for name, identity in plan.blends.items():
        if store.is_done(identity):
            continue
        with store.output(identity) as folder:
            sources = {
                source: {
                    "weight": str(weight),
                    "tokens": num_tokens[source],
                    "path": plan.tokens[source].path,
                }
                for source, weight in sorted(plan.recipe.blends[name].items())
            }
            store.write_record(identity, folder, {"sources": sources})


def source_tokens(plan: Plan, store: Store) -> dict[str, int]:
    """Training tokens of the sources that are tokenised already."""
    records = {name: store.record(identity) for name, identity in plan.tokens.items()}
    return {name: record["outputs"]["tokens"] for name, record in records.items() if record is not None}
