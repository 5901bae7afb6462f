"""How often a run repeats each source, and the caps on it."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType

from switchpoint.components.recipe.caps import declared_tokens, samples_per_epoch
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import SourceKey, split_key
from switchpoint.components.recipe.stage import Phase

MANY_EPOCHS = 4
"""Beyond this number, repeating a source is worth less and less: the plan warns."""


def known_tokens(plan: Plan, measured: Mapping[SourceKey, int]) -> dict[SourceKey, int]:
    """Return training tokens of what is drawn: as tokenised where that is known, else as the recipe declares them.

    Text of the environment stands in for a paper's source, whose scaled size says nothing about it.
    """
    own = [key for key in plan.tokens if not plan.recipe.sources[split_key(key)[0]].environment]
    declared = {key: declared_tokens(key, plan.recipe.sources) for key in own}
    return {key: size for key, size in declared.items() if size is not None} | dict(measured)


PackedSamples = Mapping[tuple[SourceKey, int], int]
"""How many samples the documents of a source make, packed into a sequence length: known once it is tokenised."""


def epoch_samples(phase: Phase, key: SourceKey, num_tokens: Mapping[SourceKey, int], packed: PackedSamples) -> int:
    """Return the samples of an epoch of `key`; if documents are packed and not tokenised yet, as if none stayed
    empty.
    """
    if phase.settings.packing == "best_fit" and (key, phase.sequence_length) in packed:
        return packed[key, phase.sequence_length]
    return samples_per_epoch(num_tokens[key], phase.sequence_length)


def phase_epochs(
    phase: Phase, num_tokens: Mapping[SourceKey, int], packed: PackedSamples = MappingProxyType({})
) -> dict[SourceKey, Fraction]:
    """Return the epochs of each source that a phase draws, if its size is known."""
    return {
        key: Fraction(count, max(1, epoch_samples(phase, key, num_tokens, packed)))
        for key, count in phase.samples.items()
        if key in num_tokens
    }


def run_epochs(
    phases: Iterable[Phase], num_tokens: Mapping[SourceKey, int], packed: PackedSamples = MappingProxyType({})
) -> dict[str, Fraction]:
    """Return the epochs of each source over all phases, its tiers added up."""
    total: dict[str, Fraction] = {}
    for phase in phases:
        for key, epochs in phase_epochs(phase, num_tokens, packed).items():
            source, _ = split_key(key)
            total[source] = total.get(source, Fraction(0)) + epochs
    return total


def check_sources(
    plan: Plan,
    num_tokens: Mapping[SourceKey, int],
    file: str = "",
    exact: bool = True,
    packed: PackedSamples = MappingProxyType({}),
) -> dict[str, dict[str, float]]:
    """Return the epochs that each arm, and each base that is or was pretrained, draws from each source. Raise
    BadInput where a cap is exceeded.

    `num_tokens`: training tokens of the sources that are known; with `exact` false they are upper bounds, and
    only what exceeds even those is refused.
    """
    runs: dict[str, tuple[Phase, ...]] = {arm.run_name: arm.phases for arm in plan.arms}
    bases = {name: base.trained for name, base in plan.bases.items() if base.parent is None}
    runs = {name: trained.stage.phases for name, trained in bases.items() if trained is not None} | runs
    found: dict[str, dict[str, float]] = {}
    bound = "" if exact else "at most "
    for run, phases in runs.items():
        for phase in phases:
            for key in phase.samples.keys() & num_tokens.keys():
                if epoch_samples(phase, key, num_tokens, packed) < 1:
                    raise BadInput(
                        "the source is too small for one sample", file=file, field=f"sources.{key}",
                        given=f"{bound}{num_tokens[key]:,} training tokens",
                        allowed=f"at least {phase.sequence_length + 1:,} (sequence_length + 1)",
                    )  # fmt: skip
        epochs = run_epochs(phases, num_tokens, packed)
        found[run] = {source: float(count) for source, count in epochs.items()}
        for source, count in epochs.items() if run not in bases else ():
            cap = plan.recipe.sources[source].max_epochs
            if cap is not None and count > cap:
                raise BadInput(
                    f"the source is too small for the epochs asked: {_drawn(phases, source):,} tokens are drawn from "
                    f"{bound}{_size(num_tokens, source)}", file=file, field=f"sources.{source}.max_epochs",
                    given=f"{'at least ' * (not exact)}{float(count):.2f} epochs in arm {run}",
                    allowed=f"{float(cap):g} epochs: lower its weight or the horizon, raise max_epochs"
                    f"{'' if plan.recipe.sources[source].excess == 'move' else ', or say `excess: move`'}",
                )  # fmt: skip
    return found


def _drawn(phases: Iterable[Phase], source: str) -> int:
    return sum(
        count * phase.sequence_length
        for phase in phases
        for key, count in phase.samples.items()
        if split_key(key)[0] == source
    )


def _size(num_tokens: Mapping[SourceKey, int], source: str) -> str:
    return " and ".join(f"{size:,}" for key, size in num_tokens.items() if split_key(key)[0] == source)
