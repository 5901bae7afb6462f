"""An arm's history as its gates leave it: what was decided ends a phase early, or the arm.

Pure: no digest depends on what a gate decided. What follows a phase that ended early starts at the step, tokens and
samples of the phase's budget, and continues the checkpoint at which the gate held.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.gate import Check, GatedPhase, GateScores
from switchpoint.components.recipe.history import phase_up_to, requesting, up_to
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.stage import Phase, Trained

EvaluationOf = Callable[[Identity], Identity]
"""The evaluation of a model."""


@dataclass
class GatedHistory:
    """What is left of an arm's phases and runs."""

    phases: list[Phase] = field(default_factory=list)
    runs: list[Trained] = field(default_factory=list)
    gates: list[GatedPhase] = field(default_factory=list)

    @property
    def failure(self) -> str:
        """Why the arm ends before its last phase's end; empty where it does not."""
        return self.gates[-1].failure if self.gates else ""


def after_gates(
    phases: list[Phase], runs: list[Trained], scores: GateScores, evaluation_of: EvaluationOf, seed: int
) -> GatedHistory:
    """Return the history up to the gate that did not hold, without what was skipped where one held early.

    `scores`: what is known of the checks. A check whose score is not known leaves the phase as it was planned.
    """
    left = GatedHistory()
    for number, phase in enumerate(phases):
        parts = [run for run in runs if len(run.stage.phases) == number + 1]
        if left.runs:
            before = left.runs[-1]
            parts[0] = replace(parts[0], parent=before.identity, parent_step=before.stage.end_step)
        if phase.gate is not None:
            parts = _checked(phase, parts, scores, evaluation_of)
        left.runs += parts
        left.phases.append(phase_up_to(parts[-1].stage.end_step, phase, parts[-1].stage.clock, seed))
        if phase.gate is not None:
            checks = tuple(check for part in parts for check in part.checks)
            left.gates.append(
                GatedPhase(
                    phase=phase.name, gate=phase.gate, checks=checks, budget_tokens=phase.tokens,
                    trained_tokens=left.phases[-1].tokens,
                )
            )  # fmt: skip
            if left.failure:
                break
    return left


def _checked(phase: Phase, parts: list[Trained], scores: GateScores, evaluation_of: EvaluationOf) -> list[Trained]:
    """Return the parts of a gated phase with its checks, up to the one that held."""
    assert phase.gate is not None
    found: list[Trained] = []
    for part in parts:
        checks: list[Check] = []
        for step in phase.gate.steps:
            if not part.stage.start_step < step <= part.stage.end_step:
                continue
            value = scores.get(part.identity.digest, {}).get(step)
            model = identity_of("model", {"step": step}, {"run": part.identity})
            checks.append(Check(gate=phase.gate, step=step, evaluation=evaluation_of(model), value=value))
            if checks[-1].holds:
                break
        steps = [check.step for check in checks]
        part = replace(requesting(part, keep=steps, export=steps), checks=tuple(checks))
        if checks and checks[-1].holds:
            return [*found, up_to(checks[-1].step, part)]
        found.append(part)
    return found
