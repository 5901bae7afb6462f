"""What came out of a study, read from the store once: the table, MLflow and the report all use this (law 8)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.bases import Base
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import ArmPlan, Derived, Plan
from switchpoint.components.store.store import Store, read_json
from switchpoint.components.train.metrics import rows_of, series_of

NOT_RUN = "not run"
"""The failure of a row that nothing has been tried for."""
MANY_SOURCES = 6
"""With more, tables show bits per byte by category; with more categories, of QA only. All stand in one of their own."""

Scores = dict[str, dict[str, float]]
"""By name: value, stderr, n."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The base, an arm with one seed, or what is derived from arms: its scores, or why it has none."""

    name: str
    arm: ArmPlan | None
    derived: Derived | None = None
    scores: Scores
    failure: str
    log: str
    described: str = ""
    """What a base is that is not called `base`; empty for other rows."""
    checkpoints: dict[int, Scores] = field(default_factory=dict)
    """Scores of chosen checkpoints before the end, by step."""
    checkpoint_failures: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Why chosen checkpoints of a row with scores have none, by step, and the log."""

    @property
    def arm_id(self) -> str:
        """The name that the rows of several seeds share."""
        return self.made.arm_id if self.made else self.name

    @property
    def is_base(self) -> bool:
        """Whether it is a base, which arms start from."""
        return self.made is None

    @property
    def made(self) -> ArmPlan | Derived | None:
        """What the study made of a base; None for a base."""
        return self.arm or self.derived

    def evaluation(self, plan: Plan) -> Identity:
        """Return the evaluation that its scores are from."""
        return self.made.evaluation if self.made else plan.bases[self.name].evaluation

    def model(self, plan: Plan) -> Identity:
        """Return the model that is evaluated."""
        return self.made.model if self.made else plan.bases[self.name].model

    @property
    def seed(self) -> int | None:
        """The seed of its data; None for what has none of its own."""
        return self.made.seed if self.made else None

    @property
    def blends(self) -> str:
        """What it was trained on, in words."""
        if self.arm is not None:
            blends = " → ".join(phase.blend for phase in self.arm.phases)
            return blends if self.arm.base == BASE else f"from {self.arm.base}: {blends}"
        return f"merge of {self.derived.described}" if self.derived else f"none: {self.described or 'the base'}"

    @property
    def stopped(self) -> str:
        """Why it ended before its horizon, or was not made: what has scores is then not compared with the others."""
        return self.made.stopped if self.made else ""


def rows(plan: Plan, store: Store) -> list[Row]:
    """Return `base`, the other bases by name, the arms in the recipe's order, then what is derived from them."""
    found = []
    for name, base in sorted(plan.bases.items(), key=lambda one: (one[0] != BASE, one[0])):
        row = _row(plan, store, name, None, base.evaluation, _before(plan, base))
        found.append(row if name == BASE else replace(row, described=base.described))
    for arm in plan.arms:
        before = [*_before(plan, plan.base_of(arm)), *arm.runs]
        found.append(_row(plan, store, arm.run_name, arm, arm.evaluation, before))
    for one in plan.derived:
        runs = [model.inputs["run"] for model in one.output.stage.models]
        bases = {base.name: base for base in (plan.base_of(plan.run(run.digest)) for run in runs)}
        before = [*(identity for base in bases.values() for identity in _before(plan, base)), *runs]
        found.append(_row(plan, store, one.run_name, None, one.evaluation, [*before, one.output.identity], one))
    return found


def _before(plan: Plan, base: Base) -> list[Identity]:
    """Return the data, and the base with all that it is made of: one of these may be why a row has no scores."""
    data = [plan.tokens[name] for name in plan.sources_at_hand()]
    data += [phase.blend_identity for phase in plan.blends.values() if not plan.generated_in(phase)]
    # What is generated is told by the runs that draw it, and is no reason for others.
    later = {output.identity.digest for output in plan.generations.values()}
    texts = [text for text in plan.texts.values() if text.digest not in later]
    made = [one.output.identity for one in plan.lineage(base)]
    return [*texts, plan.tokenizer, *data, *filter(None, [plan.probes]), *made]


def _row(
    plan: Plan, store: Store, name: str, arm: ArmPlan | None, evaluation: Identity, before: list[Identity],
    derived: Derived | None = None,
) -> Row:  # fmt: skip
    chosen = arm.checkpoint_evaluations if arm else {}
    checkpoints = {step: scores for step, one in chosen.items() if (scores := _scores(store, one)) is not None}
    scores = _scores(store, evaluation)
    if scores is None:
        reason, log = _failure(plan, store, [*before, evaluation])
        if derived and derived.stopped:
            reason, log = "", ""
        return Row(name=name, arm=arm, derived=derived, scores={}, failure=reason, log=log, checkpoints=checkpoints)
    missing = {step: _failure(plan, store, [*before, one]) for step, one in chosen.items() if step not in checkpoints}
    return Row(
        name=name,
        arm=arm,
        derived=derived,
        scores=scores,
        failure="",
        log="",
        checkpoints=checkpoints,
        checkpoint_failures=missing,
    )


def _scores(store: Store, evaluation: Identity) -> Scores | None:
    record = store.record(evaluation)
    return None if record is None else dict(record["outputs"]["scores"])


def _failure(plan: Plan, store: Store, chain: list[Identity]) -> tuple[str, str]:
    """(reason, log) of the first of `chain` that failed."""
    for identity in chain:
        failure = store.failure(identity)
        if failure:
            return f"{plan.label(identity)} failed: {failure['reason']}", failure["log"]
    return NOT_RUN, ""


def by_arm(found: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of every arm, one for each seed; the base's too."""
    arms: dict[str, list[Row]] = {}
    for row in found:
        arms.setdefault(row.arm_id, []).append(row)
    return arms


def curve(plan: Plan, store: Store, arm: ArmPlan) -> list[dict[str, Any]]:
    """The arm's rows of metrics over all its steps, the shared GB part included, as far as it was trained."""
    return [row for run, end in _stretches(plan, arm) for row in rows_of(store, run, end)]


def series(plan: Plan, store: Store, arm: ArmPlan) -> list[dict[str, Any]]:
    """The arm's evaluations while it trained, at its own points: rows with step, tokens, scores and time.

    A run that was trained before a point was asked for lacks it.
    """
    if plan.probes is None:
        return []
    wanted = set(arm.evaluation_steps)
    found: dict[int, dict[str, Any]] = {}
    for run, end in _stretches(plan, arm):
        rows_of_run = series_of(store, run, plan.probes.digest)
        found |= {step: row for step, row in rows_of_run.items() if step in wanted and step <= end}
    return [found[step] for step in sorted(found)]


def _stretches(plan: Plan, arm: ArmPlan) -> list[tuple[Identity, int]]:
    """The arm's runs, each with the step at which the arm leaves it."""
    ends = [plan.run(run.digest).stage.start_step for run in arm.runs[1:]] + [arm.horizon_steps]
    return list(zip(arm.runs, ends, strict=True))


def examples(store: Store, row: Row, plan: Plan) -> dict[str, list[Any]]:
    """What the row's scores are made from, by score: a number, or (bits, bytes), of every example."""
    evaluation = row.evaluation(plan)
    return dict(read_json(store.fetch_output(evaluation) / "examples.json") or {})


def score_names(plan: Plan, found: list[Row]) -> list[str]:
    """Every score, in the order in which they are shown: what arms are ranked by, accuracies, then bits per byte."""
    known = list(dict.fromkeys(name for row in found for name in row.scores))
    sources = list(plan.recipe.sources)

    def place(name: str) -> tuple[int, int]:
        last = name.removeprefix("bits_per_byte.")
        if name == plan.recipe.evaluation.ranked_by:
            return 0, 0
        if not name.startswith("bits_per_byte"):
            return 1, known.index(name)
        return (3, sources.index(last)) if last in sources else (2, known.index(name))

    return sorted(known, key=place)


def main_scores(plan: Plan, found: list[Row]) -> list[str]:
    """Those that a table shows: with many sources, their categories instead; of a suite, its tasks."""
    names = score_names(plan, found)
    sources = [name for name in names if name.removeprefix("bits_per_byte.") in plan.recipe.sources]
    if len(sources) > MANY_SOURCES:
        names = [name for name in names if name not in sources and name.count(".") < 3]
        categories = [name for name in names if name.startswith("bits_per_byte.category.")]
        many = set(categories) if len(categories) > MANY_SOURCES else set()
        return [name for name in names if name not in many or name == "bits_per_byte.category.qa"]
    return [name for name in names if not name.startswith("bits_per_byte.category.") and name.count(".") < 2]


def scores_by_seed(found: Iterable[Row], metric: str) -> dict[str, dict[int, float]]:
    """Return the values by seed of every arm that has the score with some seed and was not stopped."""
    arms: dict[str, dict[int, float]] = {}
    for row in found:
        if not row.is_base and not row.stopped and metric in row.scores:
            arms.setdefault(row.arm_id, {})[row.seed or 0] = row.scores[metric]["value"]
    return arms


def shared_seeds(by_seed: Mapping[str, Mapping[int, float]]) -> list[int]:
    """The seeds that all arms have the score with."""
    first, *others = by_seed.values()
    return [seed for seed in first if all(seed in other for other in others)]


def means_over_seeds(by_seed: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """What arms are ranked by: the mean over the seeds that all of them have; over its own where they share none.

    A seed can be easier than another one: an arm that lost its hard ones must not be the better for it.
    """
    shared = shared_seeds(by_seed) if by_seed else []
    return {
        arm_id: sum(values[seed] for seed in shared or values) / len(shared or values)
        for arm_id, values in by_seed.items()
    }


def best_arm(found: Sequence[Row], metric: str) -> str | None:
    """The arm with the best mean over seeds; None where no arm has the score."""
    means = means_over_seeds(scores_by_seed(found, metric))
    return (max if higher_is_better(metric, found) else min)(means, key=lambda arm_id: means[arm_id], default=None)


def best_row(plan: Plan, found: Sequence[Row]) -> Row | None:
    """Return the row of the best arm's best seed; None where no arm has the score."""
    metric = plan.recipe.evaluation.ranked_by
    rows = by_arm(found).get(best_arm(found, metric) or "", [])
    choose = max if higher_is_better(metric, found) else min
    return choose(
        (row for row in rows if metric in row.scores), key=lambda row: row.scores[metric]["value"], default=None
    )


def higher_is_better(name: str, found: Iterable[Row]) -> bool:
    """Return whether higher values are better: not for bits per byte; for other scores as their rows say, or yes."""
    lower = name.startswith("bits_per_byte") or any("lower_is_better" in row.scores.get(name, {}) for row in found)
    return not lower
