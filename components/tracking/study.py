"""A study in MLflow: one experiment; a run for each execution, and in it one per arm, per GB run and for the base.

Deterministic: names, values and times come from the plan and from files, so logging twice leaves MLflow as it was.
"""

import json
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from switchpoint.components.evaluate.results import Row, curve, series
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.bases import Base
from switchpoint.components.recipe.digest import Identity, digest_of
from switchpoint.components.recipe.kind import KINDS
from switchpoint.components.recipe.plan import ArmPlan, Derived, Plan
from switchpoint.components.recipe.stage import Phase
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.client import (
    DATABASE,
    EXPERIMENT_TAGS,
    KIND_TAG,
    PARENT_TAG,
    MLflowAway,
    experiment,
    find_or_create,
    open_client,
    reason_of,
    tag_task_run,
    tracking_uri,
    without_password,
)
from switchpoint.components.tracking.curve import checkpoint_points, score_points, series_points
from switchpoint.components.tracking.datasets import as_inputs, datasets_of
from switchpoint.components.tracking.histories import log_gb_run, nest_phases
from switchpoint.components.tracking.notes import (
    NOTE_TAG,
    STUDY_FILE,
    Link,
    arm_note,
    base_note,
    derived_note,
    study_note,
)
from switchpoint.components.tracking.params import (
    as_text,
    deciding_params,
    flat_recipe,
    resolved_recipe,
    runnable_study,
)
from switchpoint.components.tracking.tracked import TrackedRun
from switchpoint.components.train.metrics import rows_of
from switchpoint.components.train.outputs import fetch_model, model_is_there

UI_PORT = 5000
MODEL = "model"
"""The folder of a run's artifacts with the exported model."""
REPORT_TEXT = "report.md"
REPORT_FILES = ("report.html", REPORT_TEXT, "report.json")


def tracked_in(store: Store) -> str:
    """Where a study logged now would be: what a report that was written before is compared by. Empty where nowhere."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return without_password(given)
    # Of an object store it is on the machine of the task that wrote the report, and may be gone with it.
    return DATABASE if store.url or (store.root / DATABASE).exists() else ""


@dataclass(frozen=True)
class Logged:
    """Where a study is in MLflow."""

    experiment_id: str
    run_ids: dict[str, str]
    """By the names of the rows."""
    study_run_id: str = ""
    """The run that the others are nested in."""
    bases: Collection[str] = (BASE,)
    """The names of the rows that are bases."""
    gb_run_ids: dict[str, str] = field(default_factory=dict)
    """By the digests of the GB runs that were trained."""


def log_study(plan: Plan, store: Store, found: list[Row]) -> Logged:
    """Logs the study, its base, every arm and every GB run. Raises MLflowAway where it cannot."""
    try:
        return _StudyLog(plan, store).log(found)
    except Exception as error:  # as in `log_report`
        raise MLflowAway(reason_of(error)) from error


def log_report(store: Store, logged: Logged, folder: Path) -> None:
    """The report's files as artifacts of the study's run, and its text of every row's. Raises MLflowAway where it
    cannot."""
    try:
        client = open_client(store)
        for name in REPORT_FILES:
            if (folder / name).exists():
                client.log_artifact(logged.study_run_id, str(folder / name))
        for run_id in logged.run_ids.values():
            client.log_artifact(run_id, str(folder / REPORT_TEXT))
    except Exception as error:  # of MLflow, its storage's client, a missing driver: the report is written all the same
        raise MLflowAway(reason_of(error)) from error


def row_key(plan: Plan, name: str, arm: ArmPlan | Derived | None) -> str:
    """By which the run of a row is found. MLflow's params never change: a renamed blend, say, is another run."""
    made = arm or plan.bases[name]
    shown = {"evaluation": made.evaluation.digest, "params": as_text(deciding_params(plan, made))}
    if (
        isinstance(arm, ArmPlan) and plan.probes is not None
    ):  # points that are there stay: another text is another series
        shown["probes"] = plan.probes.digest
    return f"{name}/{digest_of(shown)}"


class _StudyLog:
    """One delivery of a study."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self.client = open_client(store)
        self.experiment_id = experiment(self.client, plan.recipe.name, store)
        for name, value in {**EXPERIMENT_TAGS, NOTE_TAG: plan.recipe.question}.items():
            self.client.set_experiment_tag(self.experiment_id, name, value)

    def log(self, found: list[Row]) -> Logged:
        plan = self.plan
        study = self._study()
        rows: dict[str, TrackedRun] = {}
        links = {}
        for row in found:
            rows[row.name] = self._find_row(row, study)
            links[row.name] = self._link(rows[row.name])
        gb_runs = {}
        for run in plan.gb_runs:
            arms = [links[arm.run_name] for arm in plan.arms if run.identity in arm.runs]
            tracked = log_gb_run(self.client, self.experiment_id, plan, self.store, run, arms, self._link(study))
            if tracked is not None:
                gb_runs[run.identity.digest] = tracked
        ended_ms = 0
        for row in found:
            gb = gb_runs.get(row.arm.gb_run.digest) if row.arm else None
            ended_ms = max(ended_ms, self._row(rows[row.name], row, self._link(study), gb))
        nest_phases(self.client, self.experiment_id, plan, self.store, links)
        gb_links = [self._link(run) for run in gb_runs.values()]
        study.tag({NOTE_TAG: study_note(plan, list(links.values()), gb_links)})
        study.end("FAILED" if any(row.failure for row in found) else "FINISHED", ended_ms)
        tag_task_run(self.client, {"switchpoint.study_run_id": study.run_id})
        run_ids = {name: run.run_id for name, run in rows.items()}
        gb_run_ids = {digest: run.run_id for digest, run in gb_runs.items()}
        return Logged(self.experiment_id, run_ids, study.run_id, tuple(plan.bases), gb_run_ids)

    def _link(self, run: TrackedRun) -> Link:
        return Link(run.name, self.experiment_id, run.run_id)

    def _study(self) -> TrackedRun:
        """The run of this execution: the same arms and scores are the same run, an extended study is another."""
        plan = self.plan
        params = as_text(
            {
                "study.question": plan.recipe.question, "study.arms": len(plan.arms),
                "study.tokens_alone": plan.tokens_alone, "study.tokens_shared": plan.tokens_shared,
            }
        )  # fmt: skip
        digest = plan.report.digest
        key = f"study/{digest_of({'report': digest, 'params': params})}"
        trained = [one.identity for one in (*plan.base_outputs.values(), *plan.runs)]
        began_ms = min((began for one in trained if (began := _began_ms(self.store, one))), default=0)
        tags = {KIND_TAG: "study", "switchpoint.report": digest}
        study = find_or_create(self.client, self.store, self.experiment_id, key, f"study {digest[:8]}", began_ms, tags)
        study.params(params)
        study.text(yaml.safe_dump(runnable_study(plan), sort_keys=False), STUDY_FILE)
        return study

    def _find_row(self, row: Row, study: TrackedRun) -> TrackedRun:
        first = self.plan.bases[row.name].output.identity if row.is_base else row.model(self.plan)
        first = row.arm.runs[0] if row.arm else first
        kind = "base" if row.is_base else KINDS[first.kind].label if row.derived else "arm"
        tags = {KIND_TAG: kind, PARENT_TAG: study.run_id}
        key, began_ms = row_key(self.plan, row.name, row.made), _began_ms(self.store, first)
        return find_or_create(self.client, self.store, self.experiment_id, key, row.name, began_ms, tags)

    def _row(self, run: TrackedRun, row: Row, study: Link, gb: TrackedRun | None) -> int:
        """Returns when it ended."""
        plan, store, arm = self.plan, self.store, row.arm
        evaluation = row.evaluation(plan)
        base = plan.bases[row.name] if row.is_base else None
        steps = curve(plan, store, arm) if arm else _base_curve(store, base) if base else []
        ended_ms = int(steps[-1]["time"] * 1000) if steps else 0
        tags = {
            "switchpoint.evaluation": evaluation.digest,
            "switchpoint.failure": row.failure or "none",
            "switchpoint.stopped": row.stopped or "none",
        }
        run.params(as_text(flat_recipe(plan, row.made or plan.bases[row.name])))
        run.text(json.dumps(resolved_recipe(plan, arm), indent=1), "recipe.json")
        # The score that ranks before the others, and scores before the curve: MLflow's compare page takes the first.
        ranked_by = plan.recipe.evaluation.ranked_by
        run.finals(score_points(dict(sorted(row.scores.items(), key=lambda one: one[0] != ranked_by)), ended_ms))
        run.curve(steps)
        phases: list[Phase] = []
        if base is not None:
            run.tag(tags | {NOTE_TAG: base_note(base, plan, study)})
            phases = list(base.trained.stage.phases) if base.trained else []
        elif row.derived is not None:
            run.tag(tags | {NOTE_TAG: derived_note(row.derived, study)})
        elif arm is not None:
            tags |= {"switchpoint.gb_run": arm.gb_run.digest, "switchpoint.gb_run_id": gb.run_id if gb else "none"}
            gb_link = self._link(gb) if gb else None
            run.tag(tags | {NOTE_TAG: arm_note(arm, study, gb_link)})
            run.text(yaml.safe_dump(runnable_study(plan, arm), sort_keys=False), STUDY_FILE)
            run.series(series_points(series(plan, store, arm)))
            run.series(checkpoint_points(row.checkpoints, steps))
            phases = list(arm.phases)
        if row.made is not None and model_is_there(store, row.made.model):
            run.files(fetch_model(plan, store, row.made.model), MODEL)
        run.inputs(as_inputs(datasets_of(plan, phases)))
        run.end("FAILED" if row.failure else "FINISHED", ended_ms)
        return ended_ms


def _base_curve(store: Store, base: Base) -> list[dict[str, Any]]:
    """Return the base's rows of metrics, of a checkpoint those up to it; none where nothing was trained."""
    return list(rows_of(store, base.output.identity, base.step)) if base.trained else []


def _began_ms(store: Store, identity: Identity) -> int:
    """0 where nothing was trained."""
    return next((int(row["time"] * 1000) for row in rows_of(store, identity)), 0)


def compare_commands(store: Store, logged: Logged) -> list[str]:
    """What opens the comparison: MLflow on the store, unless there is a server; the arms' charts; their compare page.

    Both pages show the arms only. The charts' list is sorted by name, since sorted by time it shows the study's run
    with the arms folded away.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    commands = []
    server = without_password(given).rstrip("/")
    if not given.startswith("http"):
        mlflow = Path(sys.executable).with_name("mlflow")
        uri = '"$MLFLOW_TRACKING_URI"' if given else tracking_uri(store)  # it may hold a password
        commands.append(f"{mlflow} ui --backend-store-uri {uri} --host 127.0.0.1 --port {UI_PORT}")
        server = f"http://127.0.0.1:{UI_PORT}"
    arms = f"tags.`{KIND_TAG}` = 'arm' and tags.`{PARENT_TAG}` = '{logged.study_run_id}'"
    charts = {
        "searchFilter": arms, "orderByKey": "tags.`mlflow.runName`", "orderByAsc": "true", "compareRunsMode": "CHART",
    }  # fmt: skip
    run_ids = [run_id for name, run_id in logged.run_ids.items() if name not in logged.bases]
    runs, experiments = (quote(json.dumps(ids)) for ids in (run_ids, [logged.experiment_id]))
    return [
        *commands,
        f"{server}/#/experiments/{logged.experiment_id}/runs?{urlencode(charts, quote_via=quote)}",
        f"{server}/#/compare-runs?runs={runs}&experiments={experiments}",
    ]
