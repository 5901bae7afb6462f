"""A study in MLflow: one experiment, one run per arm and one for the base; a rerun updates, never duplicates."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from components.recipe.digest import digest_of
from components.recipe.plan import ArmPlan, Plan
from components.report.results import Row, curve
from components.store.store import Store
from components.tracking.client import (
    BATCH_METRICS,
    DATABASE,
    MLflowAway,
    experiment,
    find_or_create,
    log_rows,
    open_client,
    tracking_uri,
)
from components.train.metrics import read_metrics

UI_PORT = 5000


def tracked_in(store: Store) -> str:
    """Where a study logged now would be: what a report that was written before is compared by. Empty where nowhere."""
    return os.environ.get("MLFLOW_TRACKING_URI") or (DATABASE if (store.root / DATABASE).exists() else "")


@dataclass(frozen=True)
class Logged:
    """Where a study is in MLflow."""

    experiment_id: str
    run_ids: dict[str, str]
    """By the names of the rows."""


def log_study(plan: Plan, store: Store, found: list[Row]) -> Logged:
    """Logs the base and every arm. Raises MLflowAway where it cannot."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        client = open_client(store)
        experiment_id = experiment(client, plan.recipe.name, store)
        run_ids = {row.name: _log_row(client, experiment_id, plan, store, row) for row in found}
    except (MlflowException, RequestException, OSError) as error:
        raise MLflowAway(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return Logged(experiment_id, run_ids)


def _log_row(client: Any, experiment_id: str, plan: Plan, store: Store, row: Row) -> str:
    from mlflow.entities import Metric, Param, RunTag

    identity = plan.base_evaluation if row.arm is None else row.arm.evaluation
    steps = list(read_metrics(store.path(plan.base))) if row.arm is None else curve(plan, store, row.arm)
    began_ms, ended_ms = (int(steps[end]["time"] * 1000) if steps else 0 for end in (0, -1))
    params = {name: _short(value) for name, value in flat_recipe(plan, row.arm).items()}
    # MLflow's params never change: another value (a renamed blend, say) is another run.
    digest = digest_of({"evaluation": identity.digest, "params": params})
    run_id = find_or_create(client, experiment_id, row.name, digest, began_ms)
    client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    client.log_dict(run_id, resolved_recipe(plan, row.arm), "recipe.json")
    tokens = steps[-1]["tokens"] if steps else 0
    log_rows(client, run_id, steps)
    metrics = []
    for name, score in row.scores.items():
        metrics.append(Metric(f"score.{name}", score["value"], ended_ms, tokens))
        metrics.append(Metric(f"score.{name}.stderr", score["stderr"], ended_ms, tokens))
    for first in range(0, len(metrics), BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + BATCH_METRICS])
    tags = {"switchpoint.evaluation": identity.digest, "switchpoint.failure": row.failure or "none"}
    if row.arm is not None:
        tags["switchpoint.gb_run"] = row.arm.gb_run.digest
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.set_terminated(run_id, "FAILED" if row.failure else "FINISHED", ended_ms or None)
    return run_id


def resolved_recipe(plan: Plan, arm: ArmPlan | None) -> dict[str, Any]:
    """The recipe with the arm's overrides put in, as plain data."""
    recipe: dict[str, Any] = plan.recipe.model_dump(mode="json", exclude={"arms", "grid"}, exclude_none=True)
    if arm is not None:
        recipe |= {
            "arm": arm.arm_id, "seed": arm.seed, "horizon_tokens": arm.horizon_tokens,
            "schedule": [asdict(piece) for piece in arm.schedule.pieces],
            "phases": [
                {
                    "name": phase.name, "blend": phase.blend, "start": phase.start, "start_step": phase.start_step,
                    "end_step": phase.end_step, "sequence_length": phase.sequence_length,
                    "weights": {key: str(weight) for key, weight in phase.weights.items()},
                }
                for phase in arm.phases
            ],
            "switch": {
                "step": arm.switch_step, "tokens": arm.switch_tokens, "learning_rate": arm.switch_learning_rate,
            },
        }  # fmt: skip
    return recipe


def flat_recipe(plan: Plan, arm: ArmPlan | None) -> dict[str, Any]:
    """What MLflow's compare view shows: the fields that tell arms apart, under flat names."""
    recipe = plan.recipe
    flat: dict[str, Any] = {
        "base": plan.base.digest, "sequence_length": recipe.sequence_length,
        "batch_size": recipe.model_dump(mode="json")["batch_size"],
    }  # fmt: skip
    if arm is None:
        return flat | {"arm": "base"}
    flat |= {
        "arm": arm.arm_id, "seed": arm.seed, "horizon_tokens": arm.horizon_tokens,
        "schedule": ", ".join(piece.shape for piece in arm.schedule.pieces),
        "schedule.max_learning_rate": arm.schedule.max_learning_rate,
        "schedule.floor_ratio": arm.schedule.min_learning_rate / arm.schedule.max_learning_rate,
        "switch.step": "none" if arm.switch_step is None else arm.switch_step,
        "switch.learning_rate": "none" if arm.switch_learning_rate is None else arm.switch_learning_rate,
    }  # fmt: skip
    for phase in arm.phases:
        flat[f"blend.{phase.name}"] = phase.blend
        for source, weight in phase.weights.items():
            flat[f"blend.{phase.name}.{source.replace('@', '.')}"] = float(weight)
    return flat


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:6000]


def compare_commands(store: Store, logged: Logged) -> list[str]:
    """What opens the comparison: MLflow on the store, unless there is a server, and the page of the study's runs."""
    uri = tracking_uri(store)
    commands = []
    server = uri.rstrip("/")
    if not uri.startswith("http"):
        mlflow = Path(sys.executable).with_name("mlflow")
        commands.append(f"{mlflow} ui --backend-store-uri {uri} --host 127.0.0.1 --port {UI_PORT}")
        server = f"http://127.0.0.1:{UI_PORT}"
    runs, experiments = (quote(json.dumps(ids)) for ids in (list(logged.run_ids.values()), [logged.experiment_id]))
    return [*commands, f"{server}/#/compare-runs?runs={runs}&experiments={experiments}"]
