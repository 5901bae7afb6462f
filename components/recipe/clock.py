"""Steps, samples and tokens of a run, exactly, each from the others: batch and sequence length may change."""

from bisect import bisect_right
from dataclasses import dataclass

from pydantic import model_validator

from switchpoint.components.recipe.fields import BatchSize, Config, Tokens, TokensOrNone


class BatchRamp(Config):
    """A batch that grows in equal stages over a range of tokens, from `start` (samples) to `end`.

    arXiv 2407.07263 pretrains with 384 to 1,152 over the first 5% of the tokens. A step's batch is that of the
    tokens consumed before it.
    """

    start: BatchSize
    end: BatchSize
    increment: BatchSize | None = None
    """The number of samples by which each stage is larger. Not given: `start`, where that divides, otherwise one
    stage."""
    start_tokens: TokensOrNone = 0
    over_tokens: Tokens

    @model_validator(mode="after")
    def _whole_stages(self) -> "BatchRamp":
        if self.end <= self.start:
            raise ValueError(f"a batch ramp grows: end {self.end} must lie above start {self.start}")
        if self.increment and (self.end - self.start) % self.increment:
            raise ValueError(f"increment {self.increment} does not divide {self.end} - {self.start}")
        if self.num_stages > 10_000:
            raise ValueError(f"{self.num_stages:,} stages: at most 10,000; give a larger increment")
        return self

    @property
    def num_stages(self) -> int:
        span = self.end - self.start
        increment = self.increment or (self.start if span % self.start == 0 else span)
        return span // increment

    def stages(self) -> list[tuple[int, int]]:
        """Return (tokens from which it holds, batch size) of every stage, the first from token 0."""
        number, span = self.num_stages, self.end - self.start
        return [(0, self.start)] + [
            (self.start_tokens + -(-stage * self.over_tokens // number), self.start + stage * span // number)
            for stage in range(1, number + 1)
        ]


Batch = int | BatchRamp
"""Samples per step, over all processes; constant, or as a function of the tokens."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Steps of one size, from `first_step` on."""

    first_step: int
    first_sample: int
    first_token: int
    batch_size: int
    sequence_length: int

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length

    def from_step(self, step: int, batch_size: int, sequence_length: int) -> "Stretch":
        """Return the stretch that follows this one at `step`."""
        steps = step - self.first_step
        return Stretch(
            first_step=step, first_sample=self.first_sample + steps * self.batch_size,
            first_token=self.first_token + steps * self.tokens_per_step, batch_size=batch_size,
            sequence_length=sequence_length,
        )  # fmt: skip


class Clock:
    """The step that begins after a number of samples or tokens, and the reverse. The last stretch has no end."""

    def __init__(self, stretches: tuple[Stretch, ...]) -> None:
        self.stretches = stretches
        self._steps = [stretch.first_step for stretch in stretches]
        self._tokens = [stretch.first_token for stretch in stretches]

    @classmethod
    def of(cls, batch: Batch, sequence_length: int) -> "Clock":
        """Return a run's clock from step 0."""
        size = batch.start if isinstance(batch, BatchRamp) else batch
        first = Stretch(first_step=0, first_sample=0, first_token=0, batch_size=size, sequence_length=sequence_length)
        return cls((first,)).changed(0, batch, sequence_length)

    def changed(self, step: int, batch: Batch, sequence_length: int, zero_token: int = 0) -> "Clock":
        """Return this clock up to `step`, from there on with another batch and length.

        A ramp counts its tokens from `zero_token`: where a phase begins a new schedule, they begin at 0 again.
        """
        kept = [stretch for stretch in self.stretches if stretch.first_step < step]
        token, sample = self.tokens_at(step), self.samples_at(step)
        stages = batch.stages() if isinstance(batch, BatchRamp) else [(0, batch)]
        here = max(number for number, (tokens, _) in enumerate(stages) if tokens <= token - zero_token)
        now = Stretch(
            first_step=step, first_sample=sample, first_token=token, batch_size=stages[here][1],
            sequence_length=sequence_length,
        )  # fmt: skip
        for tokens, size in stages[here + 1 :]:
            steps = max(0, -(-(tokens + zero_token - now.first_token) // now.tokens_per_step))
            if steps:
                kept.append(now)
            now = now.from_step(now.first_step + steps, size, sequence_length)
        return Clock((*kept, now))

    def _stretch(self, step: int) -> Stretch:
        return self.stretches[bisect_right(self._steps, step) - 1]

    def tokens_at(self, step: int) -> int:
        """Return the tokens consumed before `step`."""
        stretch = self._stretch(step)
        return stretch.first_token + (step - stretch.first_step) * stretch.tokens_per_step

    def samples_at(self, step: int) -> int:
        """Return the samples consumed before `step`."""
        stretch = self._stretch(step)
        return stretch.first_sample + (step - stretch.first_step) * stretch.batch_size

    def step_at(self, tokens: float) -> int:
        """Return the first step that begins after at least `tokens`: the inverse of `tokens_at`, rounded up."""
        number = max(0, bisect_right(self._tokens, tokens) - 1)
        stretch = self.stretches[number]
        step = stretch.first_step + max(0, int(-((stretch.first_token - tokens) // stretch.tokens_per_step)))
        return min(step, self._steps[number + 1]) if number + 1 < len(self._steps) else step

    def batch_size(self, step: int) -> int:
        return self._stretch(step).batch_size

    def sequence_length(self, step: int) -> int:
        return self._stretch(step).sequence_length
