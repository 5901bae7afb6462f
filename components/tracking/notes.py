"""Descriptions of runs, in Markdown: what a run is, what it belongs to, how to reproduce it (pure)."""

from dataclasses import dataclass

from switchpoint.components.recipe.bases import Base
from switchpoint.components.recipe.plan import ArmPlan, Derived, Plan
from switchpoint.components.recipe.stage import Trained

NOTE_TAG = "mlflow.note.content"
STUDY_FILE = "study.yaml"
"""The artifact that `switchpoint run` takes."""


@dataclass(frozen=True)
class Link:
    """A link to a run of MLflow, with its name."""

    name: str
    experiment_id: str
    run_id: str

    def __str__(self) -> str:
        # A link relative to the address at which MLflow's page is served.
        return f"[{self.name}](#/experiments/{self.experiment_id}/runs/{self.run_id})"


def _again(what: str) -> str:
    return f"To have {what} again, download the artifact `{STUDY_FILE}`, then\n\n    switchpoint run {STUDY_FILE}\n"


def study_note(plan: Plan, rows: list[Link], gb_runs: list[Link]) -> str:
    question = f"**{plan.recipe.question}**\n\n" if plan.recipe.question else ""
    shared = f"{plan.tokens_shared:,} tokens instead of {plan.tokens_alone:,}: what arms share is trained once."
    return (
        f"{question}Rows: {', '.join(map(str, rows))}.\n\nGB runs: {', '.join(map(str, gb_runs)) or 'none yet'}.\n\n"
        f"{shared}\n\n{_again('the study')}"
    )


def arm_note(arm: ArmPlan, study: Link, gb: Link | None) -> str:
    blends = " → ".join(phase.blend for phase in arm.phases)
    switched = "without a switch" if arm.switch_tokens is None else f"with the switch after {arm.switch_tokens:,}"
    gates = "".join(f"{gate.described}.\n\n" for gate in arm.gates)
    came_from = f"Its GB part was trained by {gb}.\n\n" if gb else ""
    return (
        f"{blends}: {arm.trained_tokens:,} tokens, {switched}; seed {arm.seed}. A row of {study}.\n\n"
        f"{gates}{came_from}{_again('this row')}"
    )


def base_note(base: Base, plan: Plan, study: Link) -> str:
    """Return what the run of a base says of itself."""
    if not plan.recipe.bases:
        return f"What every arm of {study} goes on from.\n"
    names = [arm.run_name for arm in plan.arms if arm.base == base.name]
    said = f"{', '.join(names[:20])} of {study} start from it" if names else f"A row of {study}; no arm starts from it"
    return f"{base.described[:1].upper()}{base.described[1:]}. {said}.\n"


def derived_note(derived: Derived, study: Link) -> str:
    """Return what the run of a merged model says of itself."""
    return f"A merge of {derived.described}: the weighted average of their weights. A row of {study}.\n"


def gb_note(run: Trained, arms: list[Link], study: Link) -> str:
    return (
        f"Trained once, on {run.stage.blend}, up to {run.stage.clock.tokens_at(run.stage.end_step):,} tokens, for "
        f"{', '.join(map(str, arms))}. A part of {study}.\n"
    )


def phase_note(row: Link) -> str:
    return f"A part of {row}, as it was delivered while it trained: {row} has the whole curve.\n"
