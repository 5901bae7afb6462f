"""Blends as a recipe writes them, and the weights that they come to: positive, summing to exactly 1."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.fields import Config, Epochs, Multiplier, Name, Weight
from switchpoint.components.recipe.source import Source, SourceKey, source_key
from switchpoint.components.recipe.whole import exactly_whole

Weights = dict[SourceKey, Fraction]
WEIGHT_DIGITS = 10**12
"""A temperature makes weights irrational: they are rounded to this many parts."""


class TierWeight(Config):
    """A weight, drawn from a subset of the source's documents."""

    weight: Weight
    tier: Name


def _weight_kind(value: Any) -> str:
    return "~tier" if isinstance(value, dict | TierWeight) else "~weight"


SourceWeight = Annotated[
    Annotated[Weight, Tag("~weight")] | Annotated[TierWeight, Tag("~tier")], Discriminator(_weight_kind)
]


class Explicit(RootModel[dict[Name, SourceWeight]]):
    """Weights by source, summing to exactly 1: 0.7, or a fraction such as 1/3."""

    model_config = {"frozen": True}


class ByTokens(Config):
    """In proportion to tokens ^ (1 / temperature): 1 is the natural distribution, a high one makes all equal."""

    by: Literal["tokens"]
    sources: Annotated[list[Name], Field(min_length=1)]
    """Names of sources or of categories."""
    temperature: Annotated[float, Field(gt=0.01, le=1e6)] = 1.0


class Multipliers(Config):
    """Another blend with some sources upweighted, downweighted or dropped, the whole brought to 1 again."""

    by: Literal["multipliers"]
    base: Name
    multiply: dict[Name, Multiplier] = Field(default_factory=dict)
    """Factors by source or category (a source's own takes precedence over its category's); 0 drops, what is not named
    stays."""
    tiers: dict[Name, Name] = Field(default_factory=dict)
    """The tier that is drawn instead, by source."""


class Share(Config):
    """A share for one blend, the rest for another: "QA 10%, rest GB". A source's name is a blend of it alone."""

    by: Literal["share"]
    share: Weight
    of: Name
    rest: Name


class Replay(Config):
    """A share of an old blend, so that what it taught is not forgotten (arXiv 2403.08763: 5% to 25%)."""

    by: Literal["replay"]
    replay: Weight
    old: Name
    new: Name


class ByEpochs(Config):
    """Sources that are repeated a number of times within the phase, the rest filled from another blend."""

    by: Literal["epochs"]
    epochs: Annotated[dict[Name, Epochs], Field(min_length=1)]
    """Epochs by source or category, whose sources are each repeated that often."""
    rest: Name


def _blend_kind(value: Any) -> str:
    if isinstance(value, Explicit):
        return "~explicit"
    by = value.get("by") if isinstance(value, dict) else getattr(value, "by", None)
    return "~explicit" if by is None else f"~{by}"


BlendConfig = Annotated[
    Annotated[Explicit, Tag("~explicit")]
    | Annotated[ByTokens, Tag("~tokens")]
    | Annotated[Multipliers, Tag("~multipliers")]
    | Annotated[Share, Tag("~share")]
    | Annotated[Replay, Tag("~replay")]
    | Annotated[ByEpochs, Tag("~epochs")],
    Discriminator(_blend_kind),
]


def blend_references(config: Any) -> dict[str, str]:
    """Return the blends, or sources, that a blend is made from, by the field that names them."""
    fields = ("base", "of", "rest", "old", "new")
    return {field: getattr(config, field) for field in fields if getattr(config, field, None) is not None}


class Resolver:
    """A resolver of weights from the blends of one recipe."""

    def __init__(self, blends: Mapping[str, Any], sources: Mapping[str, Source], left_out: frozenset[str]) -> None:
        """`left_out`: sources without text; their weight goes to the others of the same blend in proportion."""
        self.blends, self.sources, self.left_out = blends, sources, left_out
        self._known: dict[tuple[str, int | None], Weights] = {}

    def depends_on_length(self, name: str) -> bool:
        """Return whether the weights depend on the phase's length (a blend by epochs, or one made from such)."""
        config = self.blends.get(name)  # none: a source
        return isinstance(config, ByEpochs) or any(map(self.depends_on_length, blend_references(config).values()))

    def weights(self, name: str, phase_tokens: int) -> Weights:
        """Return the weights of blend `name` in a phase of `phase_tokens`. Raise BadInput if they come to no blend."""
        key = (name, phase_tokens if self.depends_on_length(name) else None)
        if key not in self._known:
            self._known[key] = dict(sorted(self._resolve(name, phase_tokens).items()))
        return self._known[key]

    def _resolve(self, name: str, phase_tokens: int) -> Weights:
        if name not in self.blends:
            return self._whole(self._kept({source_key(name, None): Fraction(1)}), f"sources.{name}")
        config, field = self.blends[name], f"blends.{name}"
        if isinstance(config, Explicit):
            weights = {
                source_key(source, weight.tier if isinstance(weight, TierWeight) else None): (
                    weight.weight if isinstance(weight, TierWeight) else weight
                )
                for source, weight in config.root.items()
            }
            weights = dict(zip(weights, exactly_whole(list(weights.values())), strict=True))
            return self._whole(self._kept(weights), field)
        if isinstance(config, ByTokens):
            sizes = {source: self._size(source, field) for source in self._expand(config.sources)}
            return self._whole(self._kept(_tempered(sizes, config.temperature)), field)
        if isinstance(config, Multipliers):
            return self._multiplied(config, phase_tokens, field)
        if isinstance(config, ByEpochs):
            return self._by_epochs(config, phase_tokens, field)
        if isinstance(config, Share):
            share, first, second = config.share, config.of, config.rest
        else:
            share, first, second = config.replay, config.old, config.new
        return _sum((share, self.weights(first, phase_tokens)), (1 - share, self.weights(second, phase_tokens)))

    def _kept(self, weights: Weights) -> Weights:
        return {key: weight for key, weight in weights.items() if key.partition("@")[0] not in self.left_out}

    def _whole(self, weights: Weights, field: str) -> Weights:
        total = sum(weights.values())
        if not total:
            raise BadInput("nothing is left of the blend: every source in it is dropped or has no text", field=field)
        return {key: weight / total for key, weight in weights.items() if weight}

    def _expand(self, names: list[str]) -> list[str]:
        """Return sources; a category stands for all of its sources."""
        found: dict[str, None] = {}
        for name in names:
            of_category = [source for source, config in self.sources.items() if config.category == name]
            found |= dict.fromkeys([name] if name in self.sources else of_category)
        return list(found)

    def _size(self, source: str, field: str) -> int:
        tokens = self.sources[source].size
        if tokens is None:
            raise BadInput(
                "the blend needs the source's size before its text is tokenised", field=field, given=source,
                allowed=f"sources.{source}.tokens: its training tokens",
            )  # fmt: skip
        return tokens

    def _multiplied(self, config: Multipliers, phase_tokens: int, field: str) -> Weights:
        weights: Weights = {}
        for key, weight in self.weights(config.base, phase_tokens).items():
            source = key.partition("@")[0]
            factor = config.multiply.get(source, config.multiply.get(self.sources[source].category, Fraction(1)))
            drawn = source_key(source, config.tiers[source]) if source in config.tiers else key
            weights[drawn] = weights.get(drawn, Fraction(0)) + weight * factor
        return self._whole(weights, field)

    def _by_epochs(self, config: ByEpochs, phase_tokens: int, field: str) -> Weights:
        drawn: Weights = {}
        for name, epochs in config.epochs.items():
            for source in self._expand([name]):
                if source not in self.left_out:
                    drawn[source] = epochs * self._size(source, field) / phase_tokens
        share = sum(drawn.values(), Fraction(0))
        if share > 1:
            asked = ", ".join(f"{float(weight * phase_tokens):,.0f} of {source}" for source, weight in drawn.items())
            raise BadInput(
                f"the epochs asked hold more tokens than the phase's {phase_tokens:,}", field=f"{field}.epochs",
                given=asked, allowed="fewer epochs, or a longer phase",
            )  # fmt: skip
        if share == 1:
            return drawn
        rest = self.weights(config.rest, phase_tokens)
        if not drawn:
            return rest
        others = {key: weight for key, weight in rest.items() if key not in drawn}
        if not others:
            raise BadInput("the rest holds no other source", field=f"{field}.rest", given=config.rest)
        return _sum((Fraction(1), drawn), (1 - share, self._whole(others, field)))


def _sum(*parts: tuple[Fraction, Weights]) -> Weights:
    total: Weights = {}
    for share, weights in parts:
        for key, weight in weights.items():
            if share:
                total[key] = total.get(key, Fraction(0)) + share * weight
    return total


def _tempered(sizes: Mapping[str, int], temperature: float) -> Weights:
    if temperature == 1:
        return {source: Fraction(size) for source, size in sizes.items()}
    largest = max(sizes.values())
    parts = {source: (size / largest) ** (1.0 / temperature) for source, size in sizes.items()}
    return {source: Fraction(max(1, round(part * WEIGHT_DIGITS))) for source, part in parts.items()}
