"""Training runs in MLflow: a GB run stands beside the arms that share it; other parts stand below their arm."""

from typing import Any

from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.client import (
    GB_RUN,
    KIND_TAG,
    PARENT_TAG,
    PHASE,
    find,
    find_or_create,
    training_key,
)
from switchpoint.components.tracking.curve import series_points
from switchpoint.components.tracking.datasets import as_inputs, datasets_of
from switchpoint.components.tracking.notes import NOTE_TAG, Link, gb_note, phase_note
from switchpoint.components.tracking.params import as_text, gb_params
from switchpoint.components.tracking.tracked import TrackedRun
from switchpoint.components.train.metrics import rows_of, series_of
from switchpoint.components.train.outputs import run_is_done


def log_gb_run(
    client: Any, experiment_id: str, plan: Plan, store: Store, run: Trained, arms: list[Link], study: Link
) -> TrackedRun | None:
    """Return the run that was delivered while it trained, or a new one. None if nothing was trained."""
    identity = run.identity
    rows = list(rows_of(store, identity))
    if not rows:
        return None
    name, began_ms = f"{run.stage.phase.name} {run.stage.blend} {identity.digest[:8]}", int(rows[0]["time"] * 1000)
    tags = {KIND_TAG: GB_RUN, PARENT_TAG: study.run_id, NOTE_TAG: gb_note(run, arms, study)}
    tracked = find_or_create(client, store, experiment_id, training_key(identity), name, began_ms, tags)
    tracked.params(as_text(gb_params(plan, run)))
    tracked.inputs(as_inputs(datasets_of(plan, [run.stage.phase])))
    tracked.curve(rows)
    if plan.probes is not None:
        tracked.series(series_points(series_of(store, identity, plan.probes.digest).values()))
    ended = "FINISHED" if run_is_done(plan, store, run) else "FAILED" if store.failure(identity) else "KILLED"
    tracked.end(ended, int(rows[-1]["time"] * 1000))
    return tracked


def nest_phases(client: Any, experiment_id: str, plan: Plan, store: Store, rows: dict[str, Link]) -> None:
    """Move what was delivered of bases and of later phases while they trained below the first row that has it.

    Such a run is not made here: the row has the whole curve.
    """
    parts = {run.identity.digest: (run.identity, rows[name]) for name, run in plan.pretrainings.items()}
    for arm in plan.arms:
        for identity in arm.runs[arm.num_gb_runs :]:
            parts.setdefault(identity.digest, (identity, rows[arm.run_name]))
    for identity, row in parts.values():
        tracked = find(client, experiment_id, training_key(identity))
        steps = list(rows_of(store, identity)) if tracked else []
        if tracked and steps:
            tracked.tag({KIND_TAG: PHASE, PARENT_TAG: row.run_id, NOTE_TAG: phase_note(row)})
            tracked.rename(f"{plan.label(identity)} of {row.name} {identity.digest[:8]}")
            tracked.curve(steps)
            tracked.end("FAILED" if store.failure(identity) else "FINISHED", int(steps[-1]["time"] * 1000))
