"""The loop over shards: at most 40 tasks for all sources together, since a Workflow object is small."""

from contextlib import suppress

from switchpoint.components.data.shards import Corpora, Shard, groups_of, shards_of
from switchpoint.components.data.tokenise import is_whole, packed_lengths, shard_work, write_shards
from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.launch.task import failure_of_run, task
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store


def missing_shards(plan: Plan, store: Store, corpora: Corpora) -> list[Shard]:
    """Return the shards that incomplete sources still lack."""
    found: list[Shard] = []
    for name in plan.sources_at_hand():
        lengths = packed_lengths(plan, name)
        if lengths or not store.is_done(plan.tokens[name]):
            found += [shard for shard in shards_of(plan, corpora, name) if not is_whole(store, shard, lengths)]
    return found


def groups(plan: Plan, store: Store, corpora: Corpora) -> int:
    """Return the number of tasks over which the missing shards are divided."""
    return groups_of([shard.num_bytes for shard in missing_shards(plan, store, corpora)])


def tokenise_group(plan: Plan, store: Store, corpora: Corpora, group: int, num_groups: int) -> None:
    """Write the missing ones of every `num_groups`-th shard from `group` on. Raise the first error, at the end.

    Which shards those are depends on the plan alone, so that a restarted task writes the same ones.
    """
    shards = [shard for name in plan.sources_at_hand() for shard in shards_of(plan, corpora, name)]
    mine = [
        shard for shard in shards[group::num_groups] if not is_whole(store, shard, packed_lengths(plan, shard.source))
    ]
    die_with_parent()
    for name in {shard.source for shard in mine}:
        if failure_of_run(store, plan.tokens[name]) is None:  # otherwise it is that of another group
            store.forget_failure(plan.tokens[name])
    errors: dict[str, Exception] = {}
    for work, error in write_shards([shard_work(plan, store, corpora, shard) for shard in mine]):
        if error is not None:
            errors.setdefault(work.shard.source, error)
    for name, error in errors.items():
        with suppress(type(error)), task(store, plan.tokens[name]):
            raise error
    for error in errors.values():
        raise error
