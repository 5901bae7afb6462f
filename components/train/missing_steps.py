"""Which requested steps a job still has to train, and from which checkpoints it can. Knows step numbers only."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass


def find_missing(
    keep_steps: Collection[int],
    export_steps: Collection[int],
    has_checkpoint: Callable[[int], bool],
    has_model: Callable[[int], bool],
) -> list[int]:
    """Return the requested steps that lack what is requested of them, ascending.

    Of `keep_steps` the checkpoint is requested, of `export_steps` the exported model.
    """
    lacking = {step for step in export_steps if not has_model(step)}
    lacking |= {step for step in set(keep_steps) - lacking if not has_checkpoint(step)}
    return sorted(lacking)


@dataclass(frozen=True)
class MissingSteps:
    """The requested steps that were missing when a job started. They decide where it resumes, skips and ends."""

    steps: tuple[int, ...]
    """Ascending. They stay as found: a step that has been trained since is still among them."""
    job_end: int
    """The job's last step, which is the position of a job that misses nothing."""

    @property
    def end_step(self) -> int:
        """The last step to train: nothing is requested beyond it."""
        return self.steps[-1] if self.steps else self.job_end

    def resume_candidates(self, complete: Iterable[int]) -> list[int]:
        """Return the complete checkpoints that the job can resume from, in their order.

        They lie at or before the first missing step. A GB run that was trained to its end may miss a step in the
        middle, where a new arm switches: its newest checkpoint lies too far.
        """
        first = self.steps[0] if self.steps else self.job_end
        return [step for step in complete if step <= first]

    def may_skip(self, step: int) -> bool:
        """Return whether steps after `step` may have been trained before: it was missing, and another one follows."""
        return step in self.steps[:-1]

    def skip_candidates(self, step: int, complete: Iterable[int]) -> list[int]:
        """Return the complete checkpoints after `step` up to the next missing step, in their order."""
        if not self.may_skip(step):
            return []
        following = min(missing for missing in self.steps if missing > step)
        return [one for one in complete if step < one <= following]
