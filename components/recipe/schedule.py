"""Learning-rate schedules: pure functions of the tokens consumed, made of pieces (law 4).

Two runs whose pieces agree up to a token have the same history up to there, whatever comes after: a piece that does
not depend on where it ends (constant, inverse square root) is the same piece at any horizon.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Shape = Literal["constant", "linear", "cosine", "1-sqrt", "inverse-sqrt"]
ENDLESS: tuple[Shape, ...] = ("constant", "inverse-sqrt")
"""Shapes that do not depend on where they end."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The learning rate over [start_tokens, end_tokens): monotone, from one value to another."""

    shape: Shape
    start_tokens: int
    end_tokens: int
    start_learning_rate: float
    end_learning_rate: float
    timescale_tokens: int = 0
    """The timescale of inverse-sqrt: rate = start x sqrt(timescale / (timescale + tokens since the start))."""

    def learning_rate(self, tokens: float) -> float:
        """Return the rate at `tokens`, which lies in the piece (its end included)."""
        passed = tokens - self.start_tokens
        if self.shape == "constant":
            return self.start_learning_rate
        if self.shape == "inverse-sqrt":
            return self.start_learning_rate * math.sqrt(self.timescale_tokens / (self.timescale_tokens + passed))
        progress = passed / (self.end_tokens - self.start_tokens)
        span = self.start_learning_rate - self.end_learning_rate
        if self.shape == "linear":
            return self.start_learning_rate - span * progress
        if self.shape == "cosine":
            return self.end_learning_rate + span * 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.end_learning_rate + span * (1.0 - math.sqrt(progress))

    def tokens_at(self, learning_rate: float) -> float:
        """Return the tokens at which a falling piece reaches `learning_rate` (between its two values): the inverse, in
        closed form.
        """
        if learning_rate >= self.start_learning_rate:
            return self.start_tokens
        if self.shape == "inverse-sqrt":
            ratio = self.start_learning_rate / learning_rate
            return self.start_tokens + self.timescale_tokens * (ratio * ratio - 1.0)
        span = self.start_learning_rate - self.end_learning_rate
        share = (learning_rate - self.end_learning_rate) / span
        if self.shape == "linear":
            progress = 1.0 - share
        elif self.shape == "cosine":
            progress = math.acos(max(-1.0, min(1.0, 2.0 * share - 1.0))) / math.pi
        else:
            progress = (1.0 - share) ** 2
        return self.start_tokens + progress * (self.end_tokens - self.start_tokens)

    def formula(self) -> dict[str, Any]:
        """Return everything that decides the piece's values, and not how long it is followed: for digests."""
        found: dict[str, Any] = {
            "shape": self.shape, "start_tokens": self.start_tokens, "start_learning_rate": self.start_learning_rate,
        }  # fmt: skip
        if self.shape == "inverse-sqrt":
            found["timescale_tokens"] = self.timescale_tokens
        elif self.shape != "constant":
            found |= {"end_tokens": self.end_tokens, "end_learning_rate": self.end_learning_rate}
        return found


@dataclass(frozen=True)
class Schedule:
    """Pieces in a row from token 0 to the horizon."""

    pieces: tuple[Piece, ...]
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError if the pieces do not follow each other from token 0."""
        ends = [0, *(piece.end_tokens for piece in self.pieces)]
        if not self.pieces or any(p.start_tokens != end for p, end in zip(self.pieces, ends, strict=False)):
            raise ValueError(f"the pieces of a schedule follow each other from token 0: {self.pieces}")
        if any(piece.end_tokens <= piece.start_tokens for piece in self.pieces):
            raise ValueError(f"a piece of a schedule holds at least one token: {self.pieces}")
        object.__setattr__(self, "_starts", tuple(piece.start_tokens for piece in self.pieces))

    @property
    def horizon_tokens(self) -> int:
        return self.pieces[-1].end_tokens

    def piece_at(self, tokens: float) -> Piece:
        """Return the piece that decides the step which begins after `tokens`."""
        return self.pieces[max(0, bisect_right(self._starts, tokens) - 1)]

    def learning_rate(self, tokens: float) -> float:
        """Return the rate of the step that begins after `tokens`; beyond the horizon the last value."""
        if tokens >= self.horizon_tokens:
            return self.pieces[-1].end_learning_rate
        return self.piece_at(tokens).learning_rate(tokens)

    def end_learning_rate(self, tokens: float) -> float:
        """Return the rate that is reached by `tokens`: at a jump between two pieces the earlier one's last value."""
        if tokens >= self.horizon_tokens:
            return self.pieces[-1].end_learning_rate
        piece = self.pieces[max(0, bisect_left(self._starts, tokens) - 1)]
        return piece.end_learning_rate if tokens >= piece.end_tokens else piece.learning_rate(tokens)

    @property
    def max_learning_rate(self) -> float:
        return max(max(piece.start_learning_rate, piece.end_learning_rate) for piece in self.pieces)

    @property
    def max_tokens(self) -> int:
        """The tokens at which the maximum is first reached: pieces are monotone, so at an end of one."""
        highest = self.max_learning_rate
        for piece in self.pieces:
            if piece.start_learning_rate == highest:
                return piece.start_tokens
            if piece.end_learning_rate == highest:
                return piece.end_tokens
        raise AssertionError(self.pieces)

    @property
    def min_learning_rate(self) -> float:
        """The lowest rate from the maximum on."""
        top = self.max_tokens
        after = [piece for piece in self.pieces if piece.end_tokens > top]
        return min([self.max_learning_rate, *(piece.end_learning_rate for piece in after)])

    def tokens_at(self, learning_rate: float) -> float:
        """Return the tokens at which the rate, once the maximum was reached, is first at or below `learning_rate`: the
        inverse.

        Raise ValueError if it never is.
        """
        top = self.max_tokens
        for piece in self.pieces:
            if piece.end_tokens <= top < self.horizon_tokens:
                continue
            if piece.start_learning_rate <= learning_rate:
                return max(piece.start_tokens, top)
            if piece.end_learning_rate <= learning_rate:
                return piece.tokens_at(learning_rate)
        raise ValueError(
            f"the schedule falls from {self.max_learning_rate:g} to {self.min_learning_rate:g} and never reaches "
            f"{learning_rate:g}"
        )

    def shifted(self, tokens: int) -> tuple[Piece, ...]:
        """Return the pieces as they lie in a run whose schedule begins after `tokens`."""
        return tuple(
            replace(piece, start_tokens=piece.start_tokens + tokens, end_tokens=piece.end_tokens + tokens)
            for piece in self.pieces
        )


def schedule_of(pieces: Iterable[Piece]) -> Schedule:
    """Return a schedule from pieces without gaps; neighbours of one constant value are joined."""
    kept: list[Piece] = []
    for piece in pieces:
        if piece.end_tokens == piece.start_tokens:
            continue
        if piece.shape != "inverse-sqrt" and piece.start_learning_rate == piece.end_learning_rate:
            piece = replace(piece, shape="constant")
        joins = kept and kept[-1].shape == piece.shape == "constant"
        if joins and kept[-1].start_learning_rate == piece.start_learning_rate:
            kept[-1] = replace(kept[-1], end_tokens=piece.end_tokens)
        else:
            kept.append(piece)
    return Schedule(tuple(kept))
