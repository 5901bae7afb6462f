"""How often a run goes through each source, and the caps on it."""

from collections.abc import Mapping
from fractions import Fraction

from components.recipe.counting import phase_counts, phase_key
from components.recipe.errors import BadInput
from components.recipe.plan import Plan, base_steps


def check_sources(
    plan: Plan, num_tokens: Mapping[str, int], file: str = "", exact: bool = True
) -> dict[str, dict[str, float]]:
    """Epochs that each arm (and `base`) goes through each source. Raises BadInput where a cap is exceeded.

    `num_tokens`: training tokens of the sources that are known; with `exact` false they are upper bounds, and
    only what exceeds even those is refused.
    """
    recipe = plan.recipe
    draws: dict[str, dict[str, int]] = {}
    pretrain = recipe.model.pretrain
    if pretrain:
        draws["base"] = phase_counts(
            recipe.blends[pretrain.blend], base_steps(pretrain, recipe) * recipe.batch_size, phase_key(0, 0)
        )
    for arm in plan.arms:
        draws[arm.arm_id] = {}
        for phase in arm.phases:
            for name, count in phase.samples.items():
                draws[arm.arm_id][name] = draws[arm.arm_id].get(name, 0) + count
    epochs: dict[str, dict[str, float]] = {run: {} for run in draws}
    for run, counts in draws.items():
        for name, count in counts.items():
            if name not in num_tokens:
                continue
            available = samples_per_epoch(num_tokens[name], recipe.sequence_length)
            bound = "" if exact else "at most "
            if available < 1:
                raise BadInput(
                    "the source is too small for one sample", file=file, field=f"sources.{name}",
                    given=f"{bound}{num_tokens[name]:,} training tokens",
                    allowed=f"at least {recipe.sequence_length + 1:,} (sequence_length + 1)",
                )  # fmt: skip
            epochs[run][name] = float(Fraction(count, available))
            cap = recipe.sources[name].max_epochs
            if run != "base" and cap is not None and count > cap * available:
                drawn = count * recipe.sequence_length
                raise BadInput(
                    f"the source is too small for the epochs asked: {drawn:,} tokens are drawn from {bound}"
                    f"{num_tokens[name]:,}", file=file, field=f"sources.{name}.max_epochs",
                    given=f"{'at least ' * (not exact)}{epochs[run][name]:.2f} epochs in arm {run}",
                    allowed=f"{cap:g} epochs: lower its weight or the horizon, or raise max_epochs",
                )  # fmt: skip
    return epochs


def samples_per_epoch(num_tokens: int, sequence_length: int) -> int:
    """Sample k is the tokens [k L, k L + L + 1) of the concatenated stream."""
    return max(0, (num_tokens - 1) // sequence_length)
