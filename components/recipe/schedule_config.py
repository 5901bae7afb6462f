"""The schedules that a recipe can name, each turned into pieces once the horizon is known.

A schedule starts at the base's minimum learning rate unless it says otherwise, and falls to a hundredth of its
maximum (arXiv 2407.07263, Table 8). Warm-ups are linear. Amounts are given in tokens or as a fraction of the horizon.
"""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from switchpoint.components.recipe.fields import (
    Config,
    Fraction01,
    LearningRate,
    Tokens,
    TokensOrNone,
    at_most_one_of,
    one_of,
)
from switchpoint.components.recipe.schedule import Piece, Schedule, Shape, schedule_of

DEFAULT_FLOOR_RATIO = 0.01
Decay = Literal["linear", "cosine", "1-sqrt"]
Ratio = Annotated[float, Field(ge=0, lt=1)]


def _amount(tokens: int | None, fraction: Fraction | None, horizon_tokens: int) -> int:
    if fraction is not None:
        return round(fraction * horizon_tokens)
    return tokens or 0


class _Warm(Config):
    """The fields of all schedules: the maximum, and a warm-up to it."""

    max_learning_rate: LearningRate | None = None
    """Not given: the minimum that the base was pretrained to. A Hugging Face folder does not tell its minimum, so
    there it is required."""
    warmup_tokens: TokensOrNone | None = None
    warmup_fraction: Fraction01 | None = None
    """The length of the warm-up as a fraction of the horizon. Neither given: no warm-up (the paper found that any
    lowers accuracy)."""
    start_learning_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The rate at which the warm-up starts. Not given: 0."""

    @model_validator(mode="after")
    def _warmup(self) -> "_Warm":
        given = at_most_one_of(self, "warmup_tokens", "warmup_fraction")
        if self.start_learning_rate is not None and given is None:
            raise ValueError("start_learning_rate is where a warm-up starts: give `warmup_tokens:` too")
        return self

    def _max(self, base_minimum: float | None) -> float:
        rate = self.max_learning_rate if self.max_learning_rate is not None else base_minimum
        assert rate is not None, "the recipe requires a maximum where the base's minimum is unknown"
        return rate

    def _start(self, base_minimum: float | None) -> float:
        return self.start_learning_rate or 0.0

    def _warm(self, base_minimum: float | None, horizon_tokens: int) -> Piece:
        """Return the warm-up; it may hold no token."""
        rate, start = self._max(base_minimum), self._start(base_minimum)
        tokens = _amount(self.warmup_tokens, self.warmup_fraction, horizon_tokens)
        if tokens >= horizon_tokens:
            raise ValueError(f"the warm-up of {tokens:,} tokens leaves nothing of the horizon of {horizon_tokens:,}")
        if start > rate:
            raise ValueError(f"the warm-up starts at {start:g}, above the maximum of {rate:g}")
        return Piece(
            shape="linear", start_tokens=0, end_tokens=tokens, start_learning_rate=start, end_learning_rate=rate
        )

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        """Return the schedule over `horizon_tokens`. Raise ValueError if its parts do not fit into them."""
        raise NotImplementedError


class _Floored(_Warm):
    """Schedules that fall to a floor."""

    floor_ratio: Ratio | None = None
    """The floor as a ratio of the maximum. Neither this nor `floor_learning_rate` given: 0.01 (Table 8)."""
    floor_learning_rate: Annotated[float, Field(ge=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one_floor(self) -> "_Floored":
        at_most_one_of(self, "floor_ratio", "floor_learning_rate")
        return self

    def _floor(self, rate: float, default: float = DEFAULT_FLOOR_RATIO) -> float:
        if self.floor_learning_rate is not None:
            if self.floor_learning_rate > rate:
                raise ValueError(f"floor_learning_rate {self.floor_learning_rate:g} lies above the maximum {rate:g}")
            return self.floor_learning_rate
        return rate * (default if self.floor_ratio is None else self.floor_ratio)

    def _fall(self, shape: Shape, start: Piece, end_tokens: int, floor: float) -> Piece:
        return Piece(
            shape=shape, start_tokens=start.end_tokens, end_tokens=end_tokens,
            start_learning_rate=start.end_learning_rate, end_learning_rate=floor,
        )  # fmt: skip


class Cosine(_Floored):
    """Half a cosine from the maximum to the floor at the horizon: the paper's."""

    kind: Literal["cosine"] = "cosine"

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        return schedule_of([warm, self._fall("cosine", warm, horizon_tokens, self._floor(warm.end_learning_rate))])


class Linear(_Floored):
    """A straight line to the floor at the horizon."""

    kind: Literal["linear"]

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        return schedule_of([warm, self._fall("linear", warm, horizon_tokens, self._floor(warm.end_learning_rate))])


class Constant(_Warm):
    """The maximum all along."""

    kind: Literal["constant"]

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        return schedule_of([warm, _hold(warm, horizon_tokens)])


class WSD(_Floored):
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395): the maximum until the decay to the floor.

    Arms that only differ in their horizon share the stable part.
    """

    kind: Literal["wsd"]
    decay: Decay = "linear"
    decay_tokens: Tokens | None = None
    decay_fraction: Fraction01 | None = None

    @model_validator(mode="after")
    def _one_decay(self) -> "WSD":
        one_of(self, "decay_tokens", "decay_fraction")
        return self

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        decay = _amount(self.decay_tokens, self.decay_fraction, horizon_tokens)
        stable = _hold(warm, horizon_tokens - decay)
        return schedule_of(
            [warm, stable, self._fall(self.decay, stable, horizon_tokens, self._floor(stable.end_learning_rate))]
        )


class Rewarm(_Floored):
    """Re-warm from the base's minimum to a higher rate, then decay again (arXiv 2308.04014, 2403.08763)."""

    kind: Literal["rewarm"]
    max_learning_rate: LearningRate
    decay: Decay = "cosine"

    @model_validator(mode="after")
    def _has_warmup(self) -> "Rewarm":
        one_of(self, "warmup_tokens", "warmup_fraction")
        return self

    def _start(self, base_minimum: float | None) -> float:
        if self.start_learning_rate is not None:
            return self.start_learning_rate
        if base_minimum is None:
            raise ValueError("the base does not tell its minimum learning rate: give `start_learning_rate:`")
        return base_minimum

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        return schedule_of([warm, self._fall(self.decay, warm, horizon_tokens, self._floor(warm.end_learning_rate))])


class Infinite(_Floored):
    """Warm-up, cool-down to a constant rate from which any later run can continue, a short anneal (arXiv
    2403.08763).
    """

    kind: Literal["infinite"]
    cooldown: Decay = "cosine"
    cooldown_tokens: Tokens | None = None
    cooldown_fraction: Fraction01 | None = None
    constant_learning_rate: LearningRate | None = None
    constant_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The constant rate as a ratio of the maximum."""
    anneal: Decay = "linear"
    anneal_tokens: TokensOrNone | None = None
    anneal_fraction: Fraction01 | None = None

    @model_validator(mode="after")
    def _parts(self) -> "Infinite":
        one_of(self, "cooldown_tokens", "cooldown_fraction")
        one_of(self, "constant_learning_rate", "constant_ratio")
        one_of(self, "anneal_tokens", "anneal_fraction")
        return self

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        rate = warm.end_learning_rate
        level = self.constant_learning_rate or rate * (self.constant_ratio or 0)
        floor = self._floor(rate)
        if not floor <= level <= rate:
            raise ValueError(f"the constant rate {level:g} lies between the floor {floor:g} and the maximum {rate:g}")
        end = warm.end_tokens + _amount(self.cooldown_tokens, self.cooldown_fraction, horizon_tokens)
        anneal = _amount(self.anneal_tokens, self.anneal_fraction, horizon_tokens)
        if end > horizon_tokens - anneal:
            raise ValueError(f"warm-up, cool-down and anneal do not fit into the horizon of {horizon_tokens:,} tokens")
        cool = self._fall(self.cooldown, warm, end, level)
        stay = _hold(cool, horizon_tokens - anneal)
        return schedule_of([warm, cool, stay, self._fall(self.anneal, stay, horizon_tokens, floor)])


class InverseSqrt(_Floored):
    """maximum x sqrt(timescale / (timescale + tokens since the warm-up)), not below the floor (none unless given).

    It depends on no horizon: arms that differ in it share their history.
    """

    kind: Literal["inverse_sqrt"]
    timescale_tokens: Tokens | None = None
    """The timescale in tokens. Not given: the warm-up's length."""

    @model_validator(mode="after")
    def _has_timescale(self) -> "InverseSqrt":
        if self.timescale_tokens is None and not self.warmup_tokens and not self.warmup_fraction:
            raise ValueError("give `timescale_tokens:`, or a warm-up, whose length it then is")
        return self

    def pieces(self, base_minimum: float | None, horizon_tokens: int) -> Schedule:
        warm = self._warm(base_minimum, horizon_tokens)
        timescale = self.timescale_tokens or warm.end_tokens
        if timescale < 1:
            raise ValueError("the warm-up holds no token: give `timescale_tokens:`")
        start, rate = warm.end_tokens, warm.end_learning_rate
        falling = Piece(
            shape="inverse-sqrt", start_tokens=start, end_tokens=horizon_tokens, start_learning_rate=rate,
            end_learning_rate=0.0, timescale_tokens=timescale,
        )  # fmt: skip
        floor = self._floor(rate, default=0.0)
        end = horizon_tokens
        if floor > falling.learning_rate(horizon_tokens):
            end = min(horizon_tokens, max(start, round(falling.tokens_at(floor))))
        last = max(floor, falling.learning_rate(end))
        falls = Piece(
            shape="inverse-sqrt", start_tokens=start, end_tokens=end, start_learning_rate=rate,
            end_learning_rate=last, timescale_tokens=timescale,
        )  # fmt: skip
        return schedule_of([warm, falls, _hold(falls, horizon_tokens)])


def _hold(before: Piece, end_tokens: int) -> Piece:
    """Return the rate that `before` ends with, up to `end_tokens`. Raise ValueError if that lies before it."""
    if end_tokens < before.end_tokens:
        raise ValueError(f"the parts of the schedule do not fit: {before.end_tokens:,} tokens and a decay before that")
    rate = before.end_learning_rate
    return Piece(
        shape="constant", start_tokens=before.end_tokens, end_tokens=end_tokens, start_learning_rate=rate,
        end_learning_rate=rate,
    )  # fmt: skip


def _kind(value: Any) -> str:
    """Return the kind of a schedule: one without a `kind` is the paper's cosine."""
    kind = value.get("kind", "cosine") if isinstance(value, dict) else getattr(value, "kind", "cosine")
    return f"~{kind}"


ScheduleConfig = Annotated[
    Annotated[Cosine, Tag("~cosine")]
    | Annotated[Linear, Tag("~linear")]
    | Annotated[Constant, Tag("~constant")]
    | Annotated[WSD, Tag("~wsd")]
    | Annotated[Rewarm, Tag("~rewarm")]
    | Annotated[Infinite, Tag("~infinite")]
    | Annotated[InverseSqrt, Tag("~inverse_sqrt")],
    Discriminator(_kind),
]
