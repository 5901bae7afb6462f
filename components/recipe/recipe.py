"""The recipe: one YAML file that says all a study does. Unknown keys are refused."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

PythonPart = Literal["topics", "docstrings", "code", "qa"]


def _weight(value: Any) -> Any:
    """A weight exactly as written: 0.7 is 7/10, "1/3" a third."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError("a weight is a number such as 0.7 or a fraction such as 1/3")
    try:
        weight = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("a weight is a number such as 0.7 or a fraction such as 1/3") from None
    if not 0 < weight <= 1:
        raise ValueError("a weight lies above 0 and at most at 1; leave a source out to drop it")
    return weight


Weight = Annotated[Fraction, BeforeValidator(_weight), PlainSerializer(str)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")]
"""Of sources, blends and arms: they become file, metric and parameter names."""
Weights = dict[Name, Weight]
LearningRate = Annotated[float, Field(gt=0, lt=1)]
MAX_EXACT_INT = 2**53
"""KFP hands integers on as floats."""
Seed = Annotated[int, Field(ge=0, le=MAX_EXACT_INT)]
Tokens = Annotated[int, Field(gt=0, le=MAX_EXACT_INT)]
Count = Annotated[int, Field(gt=0)]


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Config):
    """Where text comes from: a part of the Python installation, or a folder of UTF-8 text files."""

    python: PythonPart | None = None
    folder: str | None = None
    category: str = ""
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    """The most often that the whole run may go through the source; more is refused. Not given: no cap."""

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if (self.python is None) == (self.folder is None):
            raise ValueError("give either `python:` (topics, docstrings, code, qa) or `folder:` (a path)")
        return self


class Tokenizer(Config):
    """A byte-level BPE tokenizer trained on the sources' text, or one from a folder."""

    vocab_size: Annotated[int, Field(ge=512, le=1_000_000)] | None = None
    folder: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Tokenizer":
        if (self.vocab_size is None) == (self.folder is None):
            raise ValueError("give either `vocab_size:` (one is trained) or `folder:` (with a tokenizer.json)")
        return self


class Pretrain(Config):
    """A small base that the run pretrains itself, with cosine decay to its minimum learning rate."""

    architecture: Literal["llama", "nemotron"] = "llama"
    hidden_size: Count
    num_layers: Count
    num_heads: Count
    num_kv_heads: Count
    ffn_size: Count
    blend: str
    tokens: Tokens
    warmup_tokens: Annotated[int, Field(ge=0)] = 0
    max_learning_rate: LearningRate
    min_learning_rate: LearningRate
    num_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Training processes; one thread each. Changes rounding, so equal bits are promised where it is equal."""

    @model_validator(mode="after")
    def _consistent(self) -> "Pretrain":
        if self.min_learning_rate > self.max_learning_rate:
            raise ValueError("min_learning_rate lies above max_learning_rate")
        if self.hidden_size % self.num_heads or self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must divide hidden_size, and num_kv_heads must divide num_heads")
        if self.warmup_tokens >= self.tokens:
            raise ValueError("the warm-up must end before the pretraining does")
        return self


class Model(Config):
    """The base: pretrained here, or a Hugging Face folder."""

    pretrain: Pretrain | None = None
    folder: str | None = None

    @model_validator(mode="after")
    def _one_base(self) -> "Model":
        if (self.pretrain is None) == (self.folder is None):
            raise ValueError("give either `pretrain:` (a small model of our own) or `folder:` (a path)")
        return self


class ScheduleConfig(Config):
    """Cosine from the base's minimum learning rate to `floor_ratio` of it; no warm-up (arXiv 2407.07263)."""

    max_learning_rate: LearningRate | None = None
    """Where the schedule starts. Not given: the minimum that the base was pretrained to. A Hugging Face folder
    does not tell its minimum, so there it is required."""
    floor_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.01


class Switch(Config):
    """Where GB ends: the first step whose learning rate is at or below this ratio of the maximum."""

    learning_rate_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2


class Arm(Config):
    """What an arm changes in the recipe; what is not given stays."""

    gb: str | None = None
    qb: str | None = None
    schedule: ScheduleConfig | None = None
    switch: Switch | None = None
    horizon_tokens: Tokens | None = None
    seed: Seed | None = None


class Evaluation(Config):
    """lm-eval on tasks made from the held-out text."""

    questions: Count = 300
    """Multiple-choice questions made from held-out docstrings (all there are, if fewer)."""
    bytes_per_source: Count = 48_000
    """Held-out bytes of each source that bits per byte are measured on (whole documents)."""


class Recipe(Config):
    """A study: a recipe and the arms that are compared. Tokens are the clock."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    question: str = ""
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    heldout_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.1
    tokenizer: Tokenizer
    model: Model
    sequence_length: Annotated[int, Field(ge=8, le=1_048_576)]
    batch_size: Count
    """Samples per step, over all processes."""
    blends: Annotated[dict[Name, Weights], Field(min_length=1)]
    gb: str
    qb: str
    schedule: ScheduleConfig = ScheduleConfig()
    switch: Switch = Switch()
    horizon_tokens: Tokens
    seed: Seed = 0
    """Decides the order of the data of the continued run, never the base."""
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if "base" in self.arms:
            raise ValueError("an arm cannot be called `base`: that is the first row's name")
        processes = self.model.pretrain.num_processes if self.model.pretrain else 1
        if self.batch_size % processes:
            raise ValueError(f"batch_size {self.batch_size} cannot be divided over {processes} num_processes")
        return self

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length

    def blend_names(self) -> Mapping[str, str]:
        """Every field that names a blend, with the name that it gives."""
        named = {"gb": self.gb, "qb": self.qb}
        if self.model.pretrain:
            named["model.pretrain.blend"] = self.model.pretrain.blend
        for arm_id, arm in self.arms.items():
            if arm.gb is not None:
                named[f"arms.{arm_id}.gb"] = arm.gb
            if arm.qb is not None:
                named[f"arms.{arm_id}.qb"] = arm.qb
        return named
