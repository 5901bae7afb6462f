"""A study as training would leave it in the store, made up: metrics, evaluations, models and records, no training."""

import json
from pathlib import Path
from typing import Any

from switchpoint.components.evaluate import results
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.run import write_report
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.store import Store, write_json
from switchpoint.components.tracking.study import Logged, log_study
from switchpoint.components.train.checkpoint import checkpoint_path, model_path

START_SECONDS = 1_700_000_000
EVALUATED_STEPS = 20


def make_study(folder: Path, study: dict[str, Any]) -> tuple[Plan, Store]:
    """The plan of `study`, with every run trained and every arm evaluated."""
    for source in study["sources"].values():
        source["folder"] = str(folder / source["folder"])
    plan, _ = check_study(study, "recipe.yaml", folder / "store")
    store = open_store(folder / "store")
    probes = plan.probes.digest if plan.probes else ""
    for number, run in enumerate(plan.runs):
        tokens = [run.stage.clock.tokens_at(step) for step in range(run.stage.end_step + 1)]
        _train(store, run.identity, tokens, run.stage.start_step, list(run.stage.phase.weights), 100 + number, probes)
        place = store.local_folder(run.identity)
        for step in run.keep_steps:
            checkpoint_path(place, step).mkdir(parents=True)
            write_json(checkpoint_path(place, step) / "state.json", {"weights_sha256": "none"})
        for step in run.export_steps:
            model_path(place, step).mkdir(parents=True)
            (model_path(place, step) / "config.json").write_text("{}")
            (model_path(place, step) / "model.safetensors").write_bytes(bytes([number]) * 1000)
        store.write_record(run.identity, place, {"keep_steps": list(run.keep_steps), "weights_sha256": {}})
    base = plan.bases["base"].pretraining
    assert base is not None
    tokens = [base.clock.tokens_at(step) for step in range(base.end_step + 1)]
    _train(store, plan.base, tokens, 0, list(base.phase.weights), 0, "")
    for number, evaluation in enumerate([plan.base_evaluation, *(arm.evaluation for arm in plan.arms)]):
        names = ["bits_per_byte", *(f"bits_per_byte.{source}" for source in study["sources"])]
        scores = {name: {"value": 2.0 - number / 8, "stderr": 0.125, "n": 5} for name in names}
        store.local_folder(evaluation).mkdir(parents=True, exist_ok=True)
        store.write_record(evaluation, store.local_folder(evaluation), {"scores": scores})
    for step, evaluation in [one for arm in plan.arms for one in arm.checkpoint_evaluations.items()]:
        scores = {"bits_per_byte": {"value": 2.0 + step / 64, "stderr": 0.125, "n": 5}}
        store.local_folder(evaluation).mkdir(parents=True, exist_ok=True)
        store.write_record(evaluation, store.local_folder(evaluation), {"scores": scores})
    return plan, store


def _train(
    store: Store, identity: Identity, tokens: list[int], start_step: int, sources: list[str], began: int, probes: str
) -> None:
    """A row per step, and an evaluation now and then; `tokens` by step."""
    folder = store.local_folder(identity)
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w") as metrics, (folder / "evaluation.jsonl").open("w") as evaluations:
        for step in range(start_step + 1, len(tokens)):
            at = {"step": step, "tokens": tokens[step], "time": START_SECONDS + began * 10_000 + step * 0.25}
            row = at | {
                "loss": 3.0 / step, "learning_rate": 1e-3 / step, "grad_norm": 1.0,
                "losses": dict.fromkeys(sources, 2.5),
                "tokens_per_second": 10.0, "mfu": None, "memory_bytes": 1, "eta_seconds": 0.0, "skipped_steps": 0,
            }  # fmt: skip
            metrics.write(json.dumps(row) + "\n")
            if probes and step % EVALUATED_STEPS == 0:
                scores = {f"bits_per_byte.{source}": 2.0 for source in sources}
                evaluations.write(json.dumps(at | {"probes": probes, "scores": scores}) + "\n")


def deliver(plan: Plan, store: Store) -> Logged:
    """What the step `report` does with MLflow."""
    return log_study(plan, store, results.rows(plan, store))


def report(plan: Plan, store: Store) -> Path:
    return write_report(plan, store, "recipe.yaml")
