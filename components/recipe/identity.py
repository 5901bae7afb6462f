"""What an output is made of, with the format that its step writes."""

from collections.abc import Mapping
from typing import Any

from components.recipe.clock import BatchRamp
from components.recipe.digest import Identity
from components.recipe.phase import Packing

# Raised by hand when a step's code changes what it writes for the same configuration (law 6).
FORMATS = {
    "text": 2, "mined": 1, "tokenizer": 1, "scorer": 1, "duplicates": 1, "contamination": 1, "shard": 1, "tokens": 2,
    "blend": 3, "base": 4, "gb": 4, "qb": 4, "model": 3, "evaluation": 2, "probes": 1, "report": 4,
}  # fmt: skip


def identity_of(step: str, config: Mapping[str, Any], inputs: Mapping[str, Identity] | None = None) -> Identity:
    return Identity(step=step, format=FORMATS[step], config=config, inputs=inputs or {})


def geometry(batch: int | BatchRamp, sequence_length: int, packing: Packing, document_mask: bool) -> dict[str, Any]:
    """What decides a training step, beside its model, data and learning rate."""
    return {
        "sequence_length": sequence_length, "dtype": "float32", "packing": packing, "document_mask": document_mask,
        "batch_size": batch.model_dump() if isinstance(batch, BatchRamp) else batch,
    }  # fmt: skip
