"""The base: its shape, and the origin of its weights."""

from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from switchpoint.components.recipe.clock import BatchRamp
from switchpoint.components.recipe.fields import (
    BatchSize,
    Config,
    Count,
    LearningRate,
    Name,
    Tokens,
    TokensOrNone,
    one_of,
)
from switchpoint.components.recipe.presets import PRESETS, Preset
from switchpoint.components.recipe.training import Processes


def _preset_is_enough(schema: dict[str, Any]) -> None:
    shape = schema.pop("required")
    schema["anyOf"] = [{"required": ["preset"]}, {"required": shape}]


Kind = Literal["llama", "mistral", "qwen2", "qwen3", "gemma", "nemotron"]
KINDS = get_args(Kind)


class Architecture(Config):
    """The shape of a decoder-only transformer with grouped-query attention."""

    model_config = ConfigDict(json_schema_extra=_preset_is_enough)
    preset: Preset | None = Field(default=None, exclude=True)
    """A shape by name; fields that are given beside it replace its own."""
    kind: Kind = "llama"
    """The family. nemotron: squared ReLU, two matrices in a feed-forward block; the others: gated, three. qwen2 has
    biases in attention, qwen3 norms on queries and keys, gemma scaled embeddings."""
    num_layers: Count
    hidden_size: Count
    num_heads: Count
    num_kv_heads: Count
    head_size: Count | None = None
    """Not given: hidden_size / num_heads."""
    ffn_size: Count
    tied_embeddings: bool = True

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, shape: Any) -> Any:
        if isinstance(shape, dict) and isinstance(name := shape.get("preset"), str):
            return PRESETS.get(name, {}) | shape  # type: ignore[call-overload]
        return shape

    @model_validator(mode="after")
    def _consistent(self) -> "Architecture":
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_kv_heads must divide num_heads")
        if self.head_size is None and self.hidden_size % self.num_heads:
            raise ValueError("num_heads must divide hidden_size (or give head_size)")
        return self

    @property
    def head_width(self) -> int:
        return self.head_size or self.hidden_size // self.num_heads


class Pretrain(Config):
    """How a base is, or was, pretrained: linear warm-up, then cosine to the minimum learning rate."""

    blend: Name
    tokens: Tokens
    batch_size: BatchSize | BatchRamp | None = None
    """Not given: the recipe's."""
    warmup_tokens: TokensOrNone = 0
    max_learning_rate: LearningRate
    min_learning_rate: LearningRate
    num_processes: Processes = 1
    """Training processes; one thread each. Changes rounding: only runs with the same number have equal bits."""

    @model_validator(mode="after")
    def _consistent(self) -> "Pretrain":
        if self.min_learning_rate > self.max_learning_rate:
            raise ValueError("min_learning_rate lies above max_learning_rate")
        if self.warmup_tokens >= self.tokens:
            raise ValueError("the warm-up must end before the pretraining does")
        return self


class Model(Config):
    """The base: pretrained by the study itself, a Hugging Face folder, or published weights, for a plan only."""

    architecture: Architecture | None = None
    pretrain: Pretrain | None = None
    published: Pretrain | None = None
    """How a base was pretrained whose weights are not available: enough for a plan."""
    folder: str | None = None

    @model_validator(mode="after")
    def _one_base(self) -> "Model":
        given = one_of(self, "pretrain", "published", "folder")
        if (given == "folder") == (self.architecture is not None):
            what = "a folder has its own config.json" if given == "folder" else f"`{given}:` needs one"
            raise ValueError(f"`architecture:` describes a base that comes from no folder: {what}")
        return self

    @property
    def pretraining(self) -> Pretrain | None:
        return self.pretrain or self.published
