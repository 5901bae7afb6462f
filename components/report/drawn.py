"""What each arm was trained on: how much every phase draws of every source."""

from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.source import split_key
from switchpoint.components.recipe.stage import Phase


def drawn_tokens(phase: Phase) -> dict[str, int]:
    """Return the tokens by source, its tiers together."""
    found: dict[str, int] = {}
    for key, samples in phase.samples.items():
        source = split_key(key)[0]
        found[source] = found.get(source, 0) + samples * phase.sequence_length
    return found


def one_of_each(plan: Plan) -> list[ArmPlan]:
    """An arm's first seed, for every arm: seeds draw alike, unless a gate ends one of them earlier."""
    return list({(arm.arm_id, arm.trained_tokens): arm for arm in reversed(plan.arms)}.values())[::-1]


def blend_table(plan: Plan) -> list[list[str]]:
    """Return the tokens by arm and phase. The first line is the header."""
    lines = [["arm", "phase", "blend", "tokens", "of which"]]
    for arm in one_of_each(plan):
        for number, phase in enumerate(arm.phases):
            drawn = sorted(drawn_tokens(phase).items(), key=lambda one: -one[1])
            shares = ", ".join(f"{source} {tokens / phase.tokens:.1%}" for source, tokens in drawn if tokens)
            lines.append(
                [
                    (arm.run_name if arm.gates else arm.arm_id) if number == 0 else "",
                    phase.name,
                    phase.blend,
                    f"{phase.tokens:,}",
                    shares,
                ]
            )
    return lines
