"""The held-out text that a study is evaluated on."""

from pathlib import Path

from switchpoint.components.data.join import fetch_heldout_files
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import is_made, origin_of, part_of
from switchpoint.components.store.store import Store


def fetch_heldout_parts(plan: Plan, store: Store) -> dict[str, tuple[str, list[Path]]]:
    """Return for each source with held-out text its part, and the files of its held-out documents."""
    return {
        name: (part_of(source), _files(plan, store, name))
        for name, source in plan.sources_with_text().items()
        if not source.mine
    }


def _files(plan: Plan, store: Store, source_name: str) -> list[Path]:
    source = plan.recipe.sources[source_name]
    if is_made(origin_of(source)):
        return [store.fetch_output(plan.texts[origin_of(source)]) / "heldout" / f"{part_of(source)}.jsonl"]
    return fetch_heldout_files(plan, store, source_name)
