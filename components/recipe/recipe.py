"""The recipe: one YAML file that says all a study does. Unknown keys are refused."""

from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from switchpoint.components.recipe.base import BASE, BaseConfig
from switchpoint.components.recipe.blend import BlendConfig
from switchpoint.components.recipe.catalogue import with_catalogue
from switchpoint.components.recipe.clock import BatchRamp
from switchpoint.components.recipe.cluster import Cluster, check_nodes
from switchpoint.components.recipe.evaluation import Evaluation
from switchpoint.components.recipe.fields import BatchSize, Config, Name, Seed, SequenceLength, Tokens, one_of
from switchpoint.components.recipe.halving import Halving
from switchpoint.components.recipe.hardware import Budget, Hardware
from switchpoint.components.recipe.merge import MergeConfig
from switchpoint.components.recipe.model import Model
from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.recipe.phase import PAPER_SWITCH, SHORT_FORM, Arm, DataOrder, Packing, PhaseConfig, Switch
from switchpoint.components.recipe.published import Published
from switchpoint.components.recipe.schedule_config import Cosine, ScheduleConfig
from switchpoint.components.recipe.source import Source
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.training import Training, check_batch, check_processes

MAX_ARMS = 10_000
OF_SEVERAL_ARMS = ("arms", "grid", "seeds", "halving", "merges", "published")
"""Fields that make no sense with one arm."""


class Tokenizer(Config):
    """A byte-level BPE tokenizer trained on the sources' text, or one from a folder."""

    vocab_size: Annotated[int, Field(ge=512, le=1_000_000)] | None = None
    folder: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Tokenizer":
        one_of(self, "vocab_size", "folder")
        return self


def tokenizer_origin(folder: str) -> str:
    """Return the key of a tokenizer's folder among the inputs: a model may lie in the same folder."""
    return f"tokenizer {folder}"


class Recipe(Config):
    """A study: a recipe and the arms that are compared. Tokens are the clock."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    question: str = ""
    catalogue: Literal["paper"] | None = None
    """What is known by name: `paper` has the sources and blends of arXiv 2407.07263 (Tables 1 and 2, Figures 1 and 2)
    and, where the recipe gives none of its own, its base, start, geometry, horizon and evaluation."""
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    """With a catalogue: what is added to it, or changed in it (as `scale` and `--sources` do)."""
    left_out: list[Name] = Field(default_factory=list)
    """Sources that have no text here: their weight goes to the others of the same blend in proportion."""
    heldout_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.1
    tokenizer: Tokenizer
    model: Model
    bases: dict[Name, BaseConfig] = Field(default_factory=dict)
    """Other models that arms start from (`base: NAME` in an arm), beside `model`, which is the base called `base`: a
    checkpoint of a pretraining, another model, or a transform of a base. All have the recipe's tokenizer."""
    start: Literal["new_schedule", "fresh"]
    """How the run starts from its base. new_schedule: weights and optimizer state; tokens, schedule and data at 0
    (the paper's). fresh: weights only, which is all that a Hugging Face folder has."""
    sequence_length: SequenceLength
    batch_size: BatchSize | BatchRamp
    """Samples per step, over all processes."""
    packing: Packing = "concatenate"
    """How documents become samples. concatenate: one stream, cut every sequence_length tokens. best_fit: whole
    documents, those that fit best together (arXiv 2404.10830); longer ones are cut, and what stays empty is not
    trained on."""
    document_mask: bool = False
    """Attention stays within a document, and positions begin at 0 again with each."""
    data_order: DataOrder = "keyed"
    """keyed: a function of the seed and the sample's number. megatron: what megatron-core would draw, for runs that are
    compared with one of its own: each phase begins its sources again, sources are in order of their names, and runs of
    different lengths share nothing."""
    blends: Annotated[dict[Name, BlendConfig], Field(min_length=1)]
    gb: Name | None = None
    qb: Name | None = None
    switch: Switch | None = None
    """Where GB ends. Not given: where the learning rate has fallen to a fifth (the paper's)."""
    phases: Annotated[dict[Name, PhaseConfig], Field(min_length=1)] | None = None
    """Any number of phases in order, instead of `gb`, `qb` and `switch`, which are short for two."""
    schedule: ScheduleConfig = Cosine()
    horizon_tokens: Tokens
    """Total tokens of the continued run, rounded up to whole steps."""
    optimizer: Optimizer = Optimizer()
    seed: Seed | None = None
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1000)] | None = None
    """Decides the order of the data of the continued run, and dropout, never the base. Several: every arm is run with
    each. Neither given: 0."""
    arms: dict[Name, Arm] = Field(default_factory=dict)
    grid: dict[Name, dict[Name, Any]] = Field(default_factory=dict)
    """By field of an arm, named values: one more arm for every combination, called by the values' names."""
    merges: dict[Name, MergeConfig] = Field(default_factory=dict)
    """Averages of arms' models, made when the arms are trained and evaluated like arms."""
    published: Published | None = None
    """What a paper found for these arms: a column beside ours in the report."""
    training: Training = Training()
    budget: Budget | None = None
    halving: Halving | None = None
    """Arms are stopped early. Not given: every arm runs to its horizon."""
    hardware: Hardware | None = None
    cluster: Cluster = Cluster()
    """What training pods ask a cluster for. On one machine it does nothing."""
    evaluation: Evaluation = Evaluation()
    evaluation_sets: dict[Name, str] = Field(default_factory=dict)
    """Folders with the text of evaluation sets, by task: documents that share 13 words in a row with one are left out
    of the sources that say `decontaminate`."""

    @model_validator(mode="before")
    @classmethod
    def _from_catalogue(cls, study: Any) -> Any:
        return with_catalogue(study) if isinstance(study, dict) else study

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if "base" in self.arms:
            raise ValueError("an arm cannot be called `base`: that is the first row's name")
        if BASE in self.bases:
            raise ValueError("`bases:` has no `base`: that is the name of the one that `model:` describes")
        if "by" in self.sources:
            raise ValueError("a source cannot be called `by`: that says how a blend is given")
        short = [name for name in SHORT_FORM if getattr(self, name) is not None]
        if self.phases is not None and short:
            raise ValueError(f"`phases:` and `{short[0]}:` both say which phases there are: give one of them")
        if self.phases is None and (self.gb is None or self.qb is None):
            raise ValueError("give `gb:` and `qb:` (names of blends), or `phases:`")
        if self.merges and self.halving is not None:
            raise ValueError("`merges:` average arms at their ends, and `halving:` stops arms before: give one of them")
        if self.seed is not None and self.seeds is not None:
            raise ValueError("give `seed:` or `seeds:`, not both")
        if self.seeds is not None and len(set(self.seeds)) != len(self.seeds):
            raise ValueError("`seeds:` names a seed twice")
        if not self.arms and not self.grid:
            raise ValueError("a study has at least one arm: give `arms:` (such as `arms: {paper: {}}`) or `grid:`")
        packings = {self.packing, *(one.packing for one in (self.phases or {}).values()),
                    *(patch.packing for arm in self.arms.values() for patch in arm.phases.values())}  # fmt: skip
        if self.data_order == "megatron" and "best_fit" in packings:
            raise ValueError("`data_order: megatron` concatenates documents: `packing: best_fit` does not go with it")
        seeds = [self.seed or 0, *(self.seeds or []), *(arm.seed or 0 for arm in self.arms.values())]
        if self.data_order == "megatron" and max(seeds) >= 2**32:
            raise ValueError(f"`data_order: megatron` takes seeds below 2^32, not {max(seeds)}")
        for model in self.base_models().values():
            if model.pretrain:
                size = model.pretrain.batch_size or self.batch_size
                self._check_processes(model.pretrain.num_processes, [size])
        self._check_processes(self.training.num_processes, self._batch_sizes())
        nodes, least = self.cluster.num_nodes(self.training.num_processes), self.cluster.min_nodes
        if least is not None and least > nodes:
            raise ValueError(f"`cluster.min_nodes` {least} is more than the {nodes} of `training.num_processes`")
        return self

    def _check_processes(self, num_processes: int, sizes: list[int | BatchRamp]) -> None:
        """Raises ValueError where a number of processes that a job may have does not divide its batches."""
        check_nodes(self.cluster, num_processes)
        batches = [batch for size in sizes for _, batch in ([(0, size)] if isinstance(size, int) else size.stages())]
        for world_size in self.cluster.world_sizes(num_processes):
            check_processes(world_size, self.training)
            for batch in batches:
                check_batch(batch, world_size, self.training)

    def _batch_sizes(self) -> list[int | BatchRamp]:
        """Return the batch sizes of all continued runs, as written."""
        phases = [
            *(self.phases or {}).values(),
            *(patch for arm in self.arms.values() for patch in arm.phases.values()),
        ]
        given = [self.batch_size, *(arm.batch_size for arm in self.arms.values()), *(one.batch_size for one in phases)]
        return [size for size in given if size is not None]

    def base_models(self) -> dict[str, Model]:
        """Return the bases that are neither checkpoints nor transforms of others, by name."""
        return {BASE: self.model} | {name: one for name, one in self.bases.items() if isinstance(one, Model)}

    def sources_with_text(self) -> dict[str, Source]:
        """What there is text of, or tokens, before anything is trained; mined sources, where there is text of what they
        are made from, come last.
        """
        kept = {name: one for name, one in self.sources.items() if one.has_text and name not in self.left_out}
        mined = {
            name: one
            for name, one in kept.items()
            if one.mine and kept.keys() & set(one.mine.sources) and kept.keys() & set(one.mine.like)
        }
        return {name: one for name, one in kept.items() if not one.mine} | mined

    def generated_sources(self) -> dict[str, Source]:
        """The sources whose text a base generates."""
        return {name: one for name, one in self.sources.items() if one.generate and name not in self.left_out}

    def phase_configs(self) -> dict[str, PhaseConfig]:
        if self.phases is not None:
            return self.phases
        assert self.gb is not None
        assert self.qb is not None
        return {"gb": PhaseConfig(blend=self.gb, until=self.switch or PAPER_SWITCH), "qb": PhaseConfig(blend=self.qb)}

    def step_settings(self, *narrower: Config) -> StepSettings:
        """Return what decides a training step. `narrower`: sections whose own values replace the recipe's, such as a
        phase and its arm, the first one first.
        """

        def value_of(name: str) -> Any:
            values = (getattr(section, name, None) for section in narrower)
            return next((value for value in values if value is not None), getattr(self, name))

        return StepSettings(
            **{name: value_of(name) for name in StepSettings.model_fields if name in type(self).model_fields},
            bad_batch=self.training.bad_batch,
            spike_sigmas=self.training.deciding_sigmas,
        )

    def grid_size(self) -> int:
        size = 1
        for values in self.grid.values():
            size *= len(values)
        return size if self.grid else 0

    def grid_points(self) -> dict[str, dict[str, Any]]:
        """The grid's arms as they would be written."""
        axes = [[(field, name, value) for name, value in values.items()] for field, values in self.grid.items()]
        return {
            "-".join(name for _, name, _ in point): {field: value for field, _, value in point}
            for point in (product(*axes) if axes else ())
        }
