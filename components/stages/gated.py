"""Train an output from one check of its gate to the next, until the gate holds or the phase's budget ends."""

from dataclasses import replace

from switchpoint.components.evaluate.run import EvaluationFailed, evaluate_one
from switchpoint.components.recipe.gate import Check
from switchpoint.components.recipe.history import up_to
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.stages.run import train_run
from switchpoint.components.stages.supervise import TrainingFailed
from switchpoint.components.store.gate_scores import record_check
from switchpoint.components.store.store import Store


def train_gated(plan: Plan, store: Store, run: Trained) -> None:
    """Train the output; where its phase has a gate, up to the check at which that holds.

    What is decided, evaluated or trained already is not done again. A gate that does not hold is a result: nothing is
    raised. Raises TrainingFailed where a check has no score.
    """
    for check in run.checks:
        if not check.is_decided:
            train_run(plan, store, replace(up_to(check.step, run), checks=()))
            check = replace(check, value=_score(plan, store, check))
            record_check(store, run, check)
            print(f"gate of {run.stage.phase.name} at step {check.step:,}: {_told(check)}", flush=True)
        if check.holds:
            run = up_to(check.step, run)
            break
    train_run(plan, store, replace(run, checks=()))


def _score(plan: Plan, store: Store, check: Check) -> float:
    try:
        scores = evaluate_one(plan, store, check.evaluation)
    except EvaluationFailed as error:
        raise TrainingFailed(f"its gate cannot be checked at step {check.step:,}: {error}") from error
    if check.gate.score not in scores:
        raise TrainingFailed(
            f"its gate cannot be checked at step {check.step:,}: the evaluation has no score {check.gate.score}; "
            f"it has {', '.join(scores)}"
        )
    return scores[check.gate.score]["value"]


def _told(check: Check) -> str:
    verb = "holds" if check.holds else "does not hold"
    return f"{check.gate.score} {check.value:.4g} {verb}, allowed {check.gate.bound}"
