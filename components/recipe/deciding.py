"""Which fields of a recipe decide an output: every one that is not listed here (law 6)."""

from collections.abc import Mapping
from typing import Any

from switchpoint.components.recipe.fields import Config

NOT_DECIDING: Mapping[str, frozenset[str]] = {
    "Recipe": frozenset({"name", "question", "catalogue", "published", "budget", "halving", "hardware", "cluster"}),
    "Source": frozenset({"language"}),
    "Architecture": frozenset({"preset"}),
    "Pretrain": frozenset({"num_processes"}),
    "Training": frozenset({
        "num_processes", "replicas", "tensor_parallel", "micro_batch_size", "activation_checkpointing",
        "checkpoint_every_seconds", "keep_checkpoints", "hang_seconds", "max_restarts",
    }),
    "Evaluation": frozenset({"metric", "run_generated_code"}),
    "Continual": frozenset({"every_steps", "dense_steps", "dense_every_steps"}),
}  # fmt: skip
"""The fields, by section. They name, price, locate, rank or compare; they are short for other fields (`catalogue`,
`preset`); they change rounding, speed or safety only; or they say at which steps a result is taken, and not what it is.
"""


def deciding(section: Config, *elsewhere: str) -> dict[str, Any]:
    """Return the fields of `section` that decide an output, as plain data.

    `elsewhere`: fields that the digest has in another form, such as the name of a blend, whose weights are an input.
    """
    left_out = NOT_DECIDING.get(type(section).__name__, frozenset()) | set(elsewhere)
    return section.model_dump(exclude=set(left_out), exclude_none=True)
