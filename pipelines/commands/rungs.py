"""Successive halving as the commands use it: which point a study has come to, by what the store holds."""

from dataclasses import dataclass
from typing import Any

from switchpoint.components.evaluate import results
from switchpoint.components.evaluate.results import by_arm, higher_is_better, means_over_seeds, scores_by_seed
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.halving import Stop, Stops, decide
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stops import models_at, most_tokens, stops_at
from switchpoint.components.report.table import title
from switchpoint.components.store.location import Location
from switchpoint.components.store.opening import store_at


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What is to be run next: all arms up to a point, or those that are left to their end."""

    study: dict[str, Any]
    """The study as it was given."""
    plan: Plan
    stops: dict[str, Any]
    """The stops as plain data: the pipeline's parameter."""
    is_last: bool
    whole: Plan
    """The plan with no arm stopped."""
    most_tokens: int | None
    """The most tokens that the study takes; None without halving."""


def current_rung(study: dict[str, Any], recipe_file: str, where: Location, *, give_up_failed: bool = True) -> Rung:
    """Replay the decisions that were made, from the scores in the store; write nothing. Raise BadInput.

    `give_up_failed`: arms that failed at a point are stopped there; otherwise they are retried first.
    """
    whole, _ = check_study(study, recipe_file, where)
    halving = whole.recipe.halving
    if halving is None:
        return Rung(study=study, plan=whole, stops={}, is_last=True, whole=whole, most_tokens=None)
    metric = halving.metric or whole.recipe.evaluation.ranked_by
    up_to = [check_study(study, recipe_file, where, _data(stops_at(whole, point, {})))[0] for point in halving.at]
    most = most_tokens(halving, [*up_to, whole])
    stopped: Stops = {}
    for point in halving.at:
        here = stops_at(whole, point, stopped)
        plan, _ = check_study(study, recipe_file, where, _data(here))
        arms = by_arm(row for row in results.rows(plan, store_at(where)) if not row.is_base)
        going = {arm_id: rows for arm_id, rows in arms.items() if rows[0].name not in stopped}
        waiting = any(
            row.failure and (row.failure == results.NOT_RUN or not give_up_failed)
            for rows in going.values()
            for row in rows
        )
        sign = 1 if higher_is_better(metric, [row for rows in going.values() for row in rows]) else -1
        by_seed = scores_by_seed([row for rows in going.values() for row in rows], metric)
        whole_arms = {arm_id: one for arm_id, one in by_seed.items() if len(one) == len(going[arm_id])}
        means = {arm_id: sign * mean for arm_id, mean in means_over_seeds(whole_arms).items()}
        values = {arm_id: means.get(arm_id) for arm_id in going}
        if waiting or not any(value is not None for value in values.values()):
            return Rung(study=study, plan=plan, stops=_data(here, False), is_last=False, whole=whole, most_tokens=most)
        for arm_id, reason in decide(halving, point, title(metric), values, models_at(plan)).items():
            for row in going[arm_id]:
                stopped[row.name] = Stop(step=here[row.name].step, reason=reason)
    plan, _ = check_study(study, recipe_file, where, _data(stopped))
    return Rung(study=study, plan=plan, stops=_data(stopped), is_last=True, whole=whole, most_tokens=most)


def _data(stops: Stops, is_last: bool = True) -> dict[str, Any]:
    return {"is_last": is_last, "arms": {run_name: stop.model_dump() for run_name, stop in stops.items()}}
