"""What each arm cost, alone and as it was shared: tokens, time, and money where the recipe says what runs it."""

from dataclasses import dataclass
from statistics import median

from switchpoint.components.plan.price import Price
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.stages.progress import duration
from switchpoint.components.store.store import Store
from switchpoint.components.train.metrics import rows_of


@dataclass(frozen=True, kw_only=True)
class Cost:
    tokens: int
    seconds: float | None
    """Seconds of training, at the run's median speed; None if a part was not trained."""
    usd: float | None

    def shown(self) -> list[str]:
        time = "" if self.seconds is None else duration(self.seconds)
        return [f"{self.tokens:,}", time, *([] if self.usd is None else [f"${self.usd:,.2f}"])]


class Costs:
    """The costs of a study, from its plan and the metrics of its runs."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan, self._price = plan, Price(plan)
        self._speeds: dict[str, float | None] = {}
        self.planned_steps = sum(run.stage.end_step - run.stage.start_step for run in plan.runs)
        """The steps of all runs."""
        self.trained_steps = 0
        """The steps that the metrics files have."""
        for run in plan.runs:
            rows = list(rows_of(store, run.identity, run.stage.end_step))
            speeds = [row["tokens_per_second"] for row in rows]
            self._speeds[run.identity.digest] = median(speeds) if speeds else None
            self.trained_steps += len({row["step"] for row in rows})

    @property
    def is_priced(self) -> bool:
        return self._plan.recipe.hardware is not None

    def alone(self, arm: ArmPlan) -> Cost:
        """Return the cost of the arm, trained by itself."""
        ends = [self._plan.run(run.digest).stage.start_step for run in arm.runs[1:]] + [arm.horizon_steps]
        seconds: list[float | None] = []
        for identity, end in zip(arm.runs, ends, strict=True):
            run = self._plan.run(identity.digest)
            end = min(end, run.stage.end_step)  # a gate may have ended it before the next one starts
            tokens = run.stage.clock.tokens_at(end) - run.stage.clock.tokens_at(run.stage.start_step)
            seconds.append(self._seconds(run, tokens))
        return Cost(tokens=arm.trained_tokens, seconds=_sum(seconds), usd=self._price.arm(arm)["cost_usd"])

    def own(self, arm: ArmPlan) -> Cost:
        """Return the cost of the parts of the arm's history that no other arm has."""
        others = {run.digest for other in self._plan.arms if other is not arm for run in other.runs}
        return self._of([self._plan.run(run.digest) for run in arm.runs if run.digest not in others])

    def shared(self) -> Cost:
        """Return the cost of everything that was trained."""
        return self._of(list(self._plan.runs))

    def all_alone(self) -> Cost:
        """Return the cost of all arms, each trained by itself."""
        costs = [self.alone(arm) for arm in self._plan.arms]
        return Cost(
            tokens=sum(cost.tokens for cost in costs), seconds=_sum([cost.seconds for cost in costs]),
            usd=_sum([cost.usd for cost in costs]),
        )  # fmt: skip

    def _of(self, runs: list[Trained]) -> Cost:
        return Cost(
            tokens=sum(run.stage.tokens for run in runs),
            seconds=_sum([self._seconds(run, run.stage.tokens) for run in runs]),
            usd=self._price.runs(runs)["cost_usd"],
        )  # fmt: skip

    def _seconds(self, run: Trained, tokens: int) -> float | None:
        speed = self._speeds[run.identity.digest]
        return tokens / speed if speed else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def cost_table(plan: Plan, costs: Costs) -> list[list[str]]:
    """Return the costs by arm: alone, and what only it needed. The first line is the header, the last one the study."""
    kinds = ["tokens", "time", *(["cost"] if costs.is_priced else [])]
    lines = [["arm", *(f"{kind} alone" for kind in kinds), *(f"{kind} of its own part" for kind in kinds)]]
    for arm in plan.arms:
        lines.append([arm.run_name, *costs.alone(arm).shown(), *costs.own(arm).shown()])
    lines.append(["all", *costs.all_alone().shown(), *costs.shared().shown()])
    return lines


def sharing(costs: Costs) -> str:
    """Return what sharing saves by the plan, and how much of it the metrics files have."""
    alone, shared = costs.all_alone(), costs.shared()
    time = (
        f", {duration(shared.seconds)} of training instead of {duration(alone.seconds)}"
        if shared.seconds is not None and alone.seconds is not None
        else ""
    )
    return (
        f"Planned, with every shared history trained once: {shared.tokens:,} tokens instead of {alone.tokens:,} "
        f"({1 - shared.tokens / alone.tokens:.0%} less){time}. The metrics files have {costs.trained_steps:,} of the "
        f"{costs.planned_steps:,} planned steps, each once; what a restart trained again is not counted."
    )
