"""A study expanded: what every step is made of, the shared GB runs, the arms, their exact token counts.

Pure: the same recipe and the same input digests give the same plan, so every task of the DAG expands it anew
instead of handing it on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.recipe.counting import phase_counts, phase_key
from components.recipe.digest import Identity
from components.recipe.errors import BadInput
from components.recipe.recipe import Arm, Pretrain, Recipe, ScheduleConfig, Source
from components.recipe.schedule import Cosine, switch_step, whole_steps

# Raised by hand when a step's code changes what it writes for the same configuration (law 6).
FORMATS = {
    "text": 1, "tokenizer": 1, "tokens": 1, "blend": 1, "base": 1,
    "gb": 1, "qb": 1, "model": 1, "evaluation": 1, "report": 1,
}  # fmt: skip

PYTHON_ORIGIN = "python"


def _identity(step: str, config: Mapping[str, Any], inputs: Mapping[str, Identity] | None = None) -> Identity:
    return Identity(step=step, format=FORMATS[step], config=config, inputs=inputs or {})


def origin_of(source: Source) -> str:
    """Where a source's text is split into train and held-out: all parts of Python are split as one."""
    return PYTHON_ORIGIN if source.python else str(source.folder)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A range of steps with one blend."""

    name: str
    blend: str
    start_step: int
    end_step: int
    samples: Mapping[str, int]
    """Samples drawn from each source: exact, summing to the phase."""


@dataclass(frozen=True, kw_only=True)
class GBRun:
    """A history that arms share: trained once, kept at each of their switch points."""

    identity: Identity
    blend: str
    schedule: Cosine
    seed: int
    end_step: int
    keep_steps: tuple[int, ...]
    export_steps: tuple[int, ...]
    """Where an arm ends inside the GB run (it never switches): the model is exported there."""


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One variant of the recipe."""

    arm_id: str
    seed: int
    schedule: Cosine
    phases: tuple[Phase, ...]
    gb_run: Identity
    qb_run: Identity | None
    """None where the arm never switches: GB and QB are one blend, so the whole run is one phase."""
    model: Identity
    evaluation: Identity
    horizon_steps: int
    switch_step: int
    switch_learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    recipe: Recipe
    texts: Mapping[str, Identity]
    tokenizer: Identity
    tokens: Mapping[str, Identity]
    blends: Mapping[str, Identity]
    base: Identity
    base_schedule: Cosine | None
    base_evaluation: Identity
    gb_runs: tuple[GBRun, ...]
    arms: tuple[ArmPlan, ...]
    report: Identity

    @property
    def tokens_alone(self) -> int:
        """Tokens of continued training if every arm were trained by itself."""
        return sum(arm.horizon_steps for arm in self.arms) * self.recipe.tokens_per_step

    @property
    def tokens_shared(self) -> int:
        """Tokens of continued training with every shared history trained once."""
        qb_steps = {
            arm.qb_run.digest: arm.horizon_steps - arm.switch_step for arm in self.arms if arm.qb_run is not None
        }
        steps = sum(run.end_step for run in self.gb_runs) + sum(qb_steps.values())
        return steps * self.recipe.tokens_per_step

    def gb_run(self, digest: str) -> GBRun:
        return next(run for run in self.gb_runs if run.identity.digest == digest)

    def arm(self, arm_id: str) -> ArmPlan:
        return next(arm for arm in self.arms if arm.arm_id == arm_id)

    def identities(self) -> list[Identity]:
        """Every output of the study, in the order of the DAG, each once."""
        listed = [
            *self.texts.values(),
            self.tokenizer,
            *self.tokens.values(),
            *self.blends.values(),
            self.base,
        ]
        listed += [run.identity for run in self.gb_runs]
        listed += [arm.qb_run for arm in self.arms if arm.qb_run is not None]
        listed += [self.base_evaluation, *(arm.evaluation for arm in self.arms), self.report]
        return list({identity.digest: identity for identity in listed}.values())


def expand(recipe: Recipe, input_digests: Mapping[str, str], file: str = "") -> Plan:
    """The plan of `recipe`.

    `input_digests`: what each folder and the Python text hold, by `origin_of` (and the model's and tokenizer's
    folder by its path). `file` is only named in messages. Raises BadInput.
    """
    texts = {
        origin: _identity(
            "text", {"content": input_digests[origin], "heldout_fraction": recipe.heldout_fraction}
        )
        for origin in sorted({origin_of(source) for source in recipe.sources.values()})
    }  # fmt: skip
    source_texts = {name: texts[origin_of(source)] for name, source in recipe.sources.items()}
    from_sources = {f"source {name}": text for name, text in source_texts.items()}
    tokenizer = _tokenizer(recipe, input_digests, from_sources)
    tokens = {
        name: _identity(
            "tokens", {"part": source.python or "text"}, {"text": source_texts[name], "tokenizer": tokenizer}
        )
        for name, source in recipe.sources.items()
    }  # fmt: skip
    blends = {
        name: _identity("blend", {"weights": weights}, {source: tokens[source] for source in sorted(weights)})
        for name, weights in recipe.blends.items()
    }
    base, base_schedule = _base(recipe, input_digests, blends, tokenizer)

    def evaluation(model: Identity) -> Identity:
        config = (
            recipe.evaluation.model_dump()
            | {"sequence_length": recipe.sequence_length}
            | {"parts": {n: s.python or "text" for n, s in recipe.sources.items()}}
        )
        return _identity("evaluation", config, {"model": model, "tokenizer": tokenizer} | from_sources)

    arms = [
        _arm(recipe, arm_id, override, base, base_schedule, blends, evaluation, file)
        for arm_id, override in recipe.arms.items()
    ]
    evaluations = {f"arm {arm.arm_id}": arm.evaluation for arm in arms}
    return Plan(
        recipe=recipe, texts=texts, tokenizer=tokenizer, tokens=tokens, blends=blends, base=base,
        base_schedule=base_schedule, base_evaluation=evaluation(base), gb_runs=_gb_runs(recipe, arms), arms=tuple(arms),
        report=_identity(
            "report",
            {
                "name": recipe.name, "question": recipe.question,
                "arms": [[arm.arm_id, *(phase.blend for phase in arm.phases)] for arm in arms],
            },
            {"base": evaluation(base), **evaluations},
        ),
    )  # fmt: skip


def _tokenizer(recipe: Recipe, input_digests: Mapping[str, str], from_sources: Mapping[str, Identity]) -> Identity:
    if recipe.tokenizer.folder:
        return _identity("tokenizer", {"content": input_digests[recipe.tokenizer.folder]})
    parts = {name: source.python or "text" for name, source in recipe.sources.items()}
    return _identity("tokenizer", {"vocab_size": recipe.tokenizer.vocab_size, "parts": parts}, from_sources)


def _base(
    recipe: Recipe, input_digests: Mapping[str, str], blends: Mapping[str, Identity], tokenizer: Identity
) -> tuple[Identity, Cosine | None]:
    pretrain = recipe.model.pretrain
    if pretrain is None:
        return _identity("base", {"content": input_digests[str(recipe.model.folder)]}), None
    # The number of processes only changes rounding, and blends are inputs, not names: neither is in the digest.
    config = pretrain.model_dump(exclude={"num_processes", "blend"}) | _geometry(recipe)
    schedule = Cosine(
        max_learning_rate=pretrain.max_learning_rate, min_learning_rate=pretrain.min_learning_rate,
        warmup_tokens=pretrain.warmup_tokens,
        horizon_tokens=base_steps(pretrain, recipe) * recipe.tokens_per_step,
    )  # fmt: skip
    return _identity("base", config, {"blend": blends[pretrain.blend], "tokenizer": tokenizer}), schedule


def base_steps(pretrain: Pretrain, recipe: Recipe) -> int:
    return whole_steps(pretrain.tokens, recipe.tokens_per_step)


def _geometry(recipe: Recipe) -> dict[str, Any]:
    return {
        "sequence_length": recipe.sequence_length,
        "batch_size": recipe.batch_size,
        "dtype": "float32",
    }


def _arm(
    recipe: Recipe, arm_id: str, override: Arm, base: Identity, base_schedule: Cosine | None,
    blends: Mapping[str, Identity], evaluation: Any, file: str,
) -> ArmPlan:  # fmt: skip
    seed = recipe.seed if override.seed is None else override.seed
    gb, qb = override.gb or recipe.gb, override.qb or recipe.qb
    horizon_steps = whole_steps(override.horizon_tokens or recipe.horizon_tokens, recipe.tokens_per_step)
    schedule = _schedule(override.schedule or recipe.schedule, base_schedule, horizon_steps * recipe.tokens_per_step)
    switches = recipe.blends[gb] != recipe.blends[qb]
    at_step = horizon_steps
    if switches:
        ratio = (override.switch or recipe.switch).learning_rate_ratio
        at_step = _switch(recipe, schedule, ratio, horizon_steps, file, f"arms.{arm_id}" if override.switch else "")
    bounds = [("gb", gb, 0, at_step)] + [("qb", qb, at_step, horizon_steps)] * switches
    phases = tuple(
        Phase(
            name=name, blend=blend, start_step=start, end_step=end,
            samples=phase_counts(
                recipe.blends[blend], (end - start) * recipe.batch_size, phase_key(seed, start * recipe.batch_size)
            ),
        )
        for name, blend, start, end in bounds
    )  # fmt: skip
    gb_run = _identity(
        "gb",
        _geometry(recipe) | {
            "seed": seed,
            "start": "new_schedule" if recipe.model.pretrain else "fresh",
            "schedule": {
                "kind": "cosine", "max_learning_rate": schedule.max_learning_rate,
                "min_learning_rate": schedule.min_learning_rate, "horizon_tokens": schedule.horizon_tokens,
            },
        },
        {"base": base, "blend": blends[gb]},
    )  # fmt: skip
    qb_run = None
    if switches:
        qb_run = _identity(
            "qb", {"switch_step": at_step, "end_step": horizon_steps}, {"gb": gb_run, "blend": blends[qb]}
        )
    model = qb_run or _identity("model", {"step": horizon_steps}, {"gb": gb_run})
    return ArmPlan(
        arm_id=arm_id, seed=seed, schedule=schedule, phases=phases, gb_run=gb_run, qb_run=qb_run, model=model,
        evaluation=evaluation(model), horizon_steps=horizon_steps, switch_step=at_step,
        switch_learning_rate=schedule.learning_rate(at_step * recipe.tokens_per_step),
    )  # fmt: skip


def _schedule(config: ScheduleConfig, base_schedule: Cosine | None, horizon_tokens: int) -> Cosine:
    start = config.max_learning_rate
    if start is None:
        assert base_schedule is not None, "load.py requires a maximum where the base is a folder"
        start = base_schedule.min_learning_rate
    return Cosine(max_learning_rate=start, min_learning_rate=start * config.floor_ratio, horizon_tokens=horizon_tokens)


def _switch(recipe: Recipe, schedule: Cosine, ratio: float, horizon_steps: int, file: str, prefix: str) -> int:
    field = f"{prefix}.switch.learning_rate_ratio".lstrip(".")
    try:
        step = switch_step(schedule, ratio, recipe.tokens_per_step)
    except ValueError as error:
        raise BadInput(
            f"the switch lies outside the run: {error}", file=file, field=field, given=ratio,
            allowed=f"above the floor ratio {schedule.min_learning_rate / schedule.max_learning_rate:g}, below 1",
        ) from None  # fmt: skip
    if not 0 < step < horizon_steps:
        raise BadInput(
            f"the switch lies outside the run: it falls on step {step} of {horizon_steps}", file=file, field=field,
            given=ratio, allowed="a ratio that leaves GB and QB at least one step each (or a longer horizon)",
        )  # fmt: skip
    return step


def _gb_runs(recipe: Recipe, arms: list[ArmPlan]) -> tuple[GBRun, ...]:
    runs = {}
    for digest in dict.fromkeys(arm.gb_run.digest for arm in arms):
        sharing = [arm for arm in arms if arm.gb_run.digest == digest]
        runs[digest] = GBRun(
            identity=sharing[0].gb_run, blend=sharing[0].phases[0].blend, schedule=sharing[0].schedule,
            seed=sharing[0].seed, end_step=max(arm.switch_step for arm in sharing),
            keep_steps=tuple(sorted({arm.switch_step for arm in sharing})),
            export_steps=tuple(sorted({arm.switch_step for arm in sharing if arm.qb_run is None})),
        )  # fmt: skip
    return tuple(runs.values())
