"""A study in MLflow: one experiment, one run per arm and one for the base; a rerun updates, never duplicates."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from components.launch.task import sole_task
from components.recipe.digest import digest_of
from components.recipe.plan import ArmPlan, Plan
from components.report.results import Row, curve
from components.store.store import Store
from components.train.metrics import read_metrics

DATABASE = "mlflow.db"
BATCH_METRICS = 1000
"""The most that MLflow takes in one call."""
CURVE_KEYS = {"loss": "train.loss", "learning_rate": "train.learning_rate", "grad_norm": "train.grad_norm"}
UI_PORT = 5000
RUN_TAG = "switchpoint.run"
"""Names a run by what it shows, so that it is found again."""


def tracking_uri(store: Store) -> str:
    """MLFLOW_TRACKING_URI where it is set; otherwise SQLite in the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(store.root / DATABASE).resolve()}"


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
    """Logs the base and every arm."""
    from mlflow import MlflowClient

    with sole_task(store, "mlflow"):
        _make_database(store)
    client = MlflowClient(tracking_uri(store))
    experiment_id = _experiment(client, plan.recipe.name, store)
    run_ids = {row.name: _log_row(client, experiment_id, plan, store, row) for row in found}
    return Logged(experiment_id, run_ids)


def _make_database(store: Store) -> None:
    """MLflow makes its tables in many steps, and cannot go on where it was cut off: so aside, then one rename."""
    from mlflow import MlflowClient

    database = store.root / DATABASE
    if os.environ.get("MLFLOW_TRACKING_URI") or database.exists():
        return
    beside = store.root / f".{DATABASE}"
    beside.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{beside.resolve()}").search_experiments()
    beside.rename(database)


def _experiment(client: Any, name: str, store: Store) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (store.root / "mlartifacts" / name).resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _log_row(client: Any, experiment_id: str, plan: Plan, store: Store, row: Row) -> str:
    from mlflow.entities import Metric, Param, RunTag

    identity = plan.base_evaluation if row.arm is None else row.arm.evaluation
    steps = list(read_metrics(store.path(plan.base))) if row.arm is None else curve(plan, store, row.arm)
    began_ms, ended_ms = (int(steps[end]["time"] * 1000) if steps else 0 for end in (0, -1))
    params = {name: _short(value) for name, value in flat_recipe(plan, row.arm).items()}
    # MLflow's params never change: another value (a renamed blend, say) is another run.
    digest = digest_of({"evaluation": identity.digest, "params": params})
    run_id = _find_or_create(client, experiment_id, row.name, digest, began_ms)
    client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    client.log_dict(run_id, resolved_recipe(plan, row.arm), "recipe.json")
    tokens = steps[-1]["tokens"] if steps else 0
    # A run that failed and was resumed has some steps anew, at another time but with the same values.
    logged = max((metric.step for metric in client.get_metric_history(run_id, CURVE_KEYS["loss"])), default=0)
    metrics = [
        Metric(key, step[name], int(step["time"] * 1000), step["tokens"])
        for step in steps
        if step["tokens"] > logged
        for name, key in CURVE_KEYS.items()
    ]
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


def _find_or_create(client: Any, experiment_id: str, name: str, digest: str, began_ms: int) -> str:
    """The run of this row: found by what it is made of, so an arm with another history is another run."""
    found: Iterable[Any] = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{name}/{digest}'")
    for run in found:
        return str(run.info.run_id)
    tags = {RUN_TAG: f"{name}/{digest}"}
    run = client.create_run(experiment_id, start_time=began_ms or None, run_name=name, tags=tags)
    return str(run.info.run_id)


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
