"""Law 6: every field of a recipe decides the digest of some output, unless it is listed as not deciding."""

import typing
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Literal

import pytest
from pydantic import RootModel

from switchpoint.components.recipe.deciding import NOT_DECIDING, deciding
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.fields import Config
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.step_settings import StepSettings

PRETRAIN = {
    "blend": "prose", "tokens": 4096, "max_learning_rate": 1e-2, "min_learning_rate": 1e-3, "warmup_tokens": 128,
}  # fmt: skip
SHAPE = {
    "num_layers": 1, "hidden_size": 16, "num_heads": 2, "num_kv_heads": 2, "ffn_size": 32, "tied_embeddings": True,
}  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "all", "tokenizer": {"vocab_size": 512}, "start": "new_schedule", "sequence_length": 32, "batch_size": 4,
    "horizon_tokens": 5120, "gb": "prose", "qb": "mixed", "arms": {"one": {}},
    "model": {"architecture": SHAPE, "pretrain": PRETRAIN},
    "sources": {
        "web": {"folder": "web", "tokens": 10_000}, "qa": {"folder": "qa", "tokens": 10_000, "category": "qa"},
        "code": {"folder": "code", "tokens": 20_000},
    },
    "blends": {"prose": {"web": 1}, "mixed": {"web": 0.5, "qa": 0.5}, "coded": {"code": 0.5, "web": 0.5}},
}  # fmt: skip


class Folders(dict[str, str]):
    """The content of every folder is another one."""

    def __missing__(self, origin: str) -> str:
        return f"content of {origin}"

    def get(self, origin: str, default: Any = None) -> str:
        return self[origin]


def outputs(study: dict[str, Any]) -> set[str]:
    """The paths of all outputs but the report, which also shows what decides nothing."""
    plan = expand(parse_recipe(study, "recipe.yaml"), Folders())
    return {identity.path for identity in plan.identities() if identity.kind != "report"}


def put(study: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The study with another value at a dotted path; None takes the field out."""
    changed = deepcopy(study)
    *sections, field = path.split(".")
    section = changed
    for name in sections:
        section = section.setdefault(name, {})
    if value is None:
        section.pop(field, None)
    else:
        section[field] = value
    return changed


Change = tuple[dict[str, Any], str, Any]
"""What the study is given first, then the path of the field and its other value."""

RAMP = {"batch_size": {"start": 2, "end": 6, "increment": 2, "start_tokens": 256, "over_tokens": 1024}}
WARM = {"warmup_tokens": 512}
PHASES: dict[str, Any] = {
    "gb": None, "qb": None,
    "phases": {
        "one": {"blend": "prose", "until": {"steps": 20}, "schedule": {"max_learning_rate": 1e-3}},
        "two": {"blend": "mixed", "start": "new_schedule", "schedule": {"max_learning_rate": 2e-3},
                "horizon_tokens": 2560, "sequence_length": 32, "batch_size": 4, "packing": "concatenate"},
    },
}  # fmt: skip
PHASES["phases"]["one"].pop("until")
TWO = put(PHASES, "phases", {"one": {"blend": "prose", "until": {"steps": 20}}, "two": {"blend": "mixed"}})
SCORED = {"sources.web.reference": "good", "sources.web.tiers": {"best": {"tokens": 4000, "best": 0.5}},
          "blends.mixed": {"web": {"weight": 0.5, "tier": "best"}, "qa": 0.5}}  # fmt: skip
NAMED = {"sources.web.tiers": {"long": {"tokens": 4000, "documents": "long/*"}},
         "blends.mixed": {"web": {"weight": 0.5, "tier": "long"}, "qa": 0.5}}  # fmt: skip
MINED = {"sources.near": {"mine": {"sources": ["web", "code"], "like": ["qa"]}},
         "blends.mixed": {"near": 0.5, "qa": 0.5}}  # fmt: skip
FOLDER = {"model": {"folder": "base"}, "tokenizer": {"folder": "base"}, "start": "fresh",
          "schedule": {"max_learning_rate": 1e-3}}  # fmt: skip
PUBLISHED = {"model": {"architecture": SHAPE, "published": PRETRAIN}}


GATED = TWO | {"phases.one.gate": {"score": "bits_per_byte", "at_most": 2.0}}
TWO_ARMS = {"arms.two": {"qb": "coded"}}
OTHER_BASE = {"architecture": SHAPE | {"ffn_size": 48}, "pretrain": PRETRAIN}
BASES: dict[str, Any] = {
    "bases": {"half": {"checkpoint": 0.5}, "other": OTHER_BASE, "third": OTHER_BASE | {"pretrain": PRETRAIN | {
        "tokens": 2048}}, "same": {"transform": {"kind": "copy", "of": "other"}}},
    "start": "fresh", "arms": {"one": {"base": "half"}, "two": {"base": "same"}},
}  # fmt: skip
OWN = {"sources.own": {"generate": {"from": "base", "tokens": 2048}}, "blends.mixed": {"own": 0.5, "qa": 0.5}}
SOUP = TWO_ARMS | {"merges.soup": {"of": ["one", "two"]}}


def schedule(**fields: Any) -> dict[str, Any]:
    return {"schedule": fields, "switch": {"progress": 0.5}}


DECIDING: dict[str, Change] = {
    "Recipe.sources": ({}, "sources.web.folder", "other"),
    "Recipe.left_out": ({"blends.mixed": {"web": 0.5, "qa": 0.25, "code": 0.25}}, "left_out", ["code"]),
    "Recipe.heldout_fraction": ({}, "heldout_fraction", 0.2),
    "Recipe.tokenizer": ({}, "tokenizer.vocab_size", 1024),
    "Recipe.model": ({}, "model.pretrain.tokens", 8192),
    "Recipe.bases": (BASES, "bases.other.architecture.ffn_size", 64),
    "CheckpointBase.checkpoint": (BASES, "bases.half.checkpoint", 0.25),
    "CheckpointBase.of": (BASES, "bases.half.of", "other"),
    "TransformBase.transform": (BASES, "bases.same.transform", {"kind": "copy"}),
    "Copy.of": (BASES, "bases.same.transform.of", "third"),
    "Arm.base": (BASES, "arms.one.base", "other"),
    "Recipe.start": ({}, "start", "fresh"),
    "Recipe.sequence_length": ({}, "sequence_length", 64),
    "Recipe.batch_size": ({}, "batch_size", 8),
    "Recipe.packing": ({}, "packing", "best_fit"),
    "Recipe.document_mask": ({}, "document_mask", True),
    "Recipe.data_order": ({}, "data_order", "megatron"),
    "Recipe.blends": ({}, "blends.mixed", {"web": 0.25, "qa": 0.75}),
    "Recipe.gb": ({}, "gb", "coded"),
    "Recipe.qb": ({}, "qb", "coded"),
    "Recipe.switch": ({}, "switch", {"progress": 0.5}),
    "Recipe.phases": (PHASES, "phases.two.blend", "coded"),
    "Recipe.schedule": ({}, "schedule", {"floor_ratio": 0.1}),
    "Recipe.horizon_tokens": ({}, "horizon_tokens", 2560),
    "Recipe.optimizer": ({}, "optimizer", {"beta1": 0.8}),
    "Recipe.seed": ({}, "seed", 1),
    "Recipe.seeds": ({}, "seeds", [0, 1]),
    "Recipe.arms": ({}, "arms.two", {"qb": "coded"}),
    "Recipe.grid": ({}, "grid", {"qb": {"c": "coded"}}),
    "Recipe.merges": (TWO_ARMS, "merges", {"soup": {"of": ["one", "two"]}}),
    "MergeConfig.of": (SOUP, "merges.soup.of", ["two", "one"]),
    "MergeConfig.weights": (SOUP, "merges.soup.weights", [0.25, 0.75]),
    "ArmCheckpoint.arm": (
        SOUP, "merges.soup.of", [{"arm": "one", "at": 0.5}, {"arm": "two", "at": 1}]
    ),
    "ArmCheckpoint.at": (
        SOUP | {"merges.soup.of": [{"arm": "one", "at": 0.5}, "two"]}, "merges.soup.of",
        [{"arm": "one", "at": 0.75}, "two"],
    ),
    "Recipe.training": ({}, "training", {"bad_batch": "skip"}),
    "Recipe.evaluation": ({}, "evaluation", {"questions": 10}),
    "Recipe.evaluation_sets": ({}, "evaluation_sets", {"mmlu": "mmlu"}),
    "Source.python": ({"sources.web": {"python": "docstrings"}}, "sources.web.python", "code"),
    "Source.environment": ({"sources.web": {"environment": "readmes"}}, "sources.web.environment", "code"),
    "Source.folder": ({}, "sources.web.folder", "other"),
    "Source.text_field": ({}, "sources.web.text_field", "body"),
    "Source.metadata_fields": ({}, "sources.web.metadata_fields", ["language"]),
    "Source.control_tokens": ({}, "sources.web.control_tokens", "token"),
    "Source.on_error": ({}, "sources.web.on_error", "skip"),
    "Source.token_file": ({"sources.web": {"token_file": "a", "heldout": "b"}}, "sources.web.token_file", "c"),
    "Source.filters": ({}, "sources.web.filters", ["gopher_quality"]),
    "Source.deduplicate": ({}, "sources.web.deduplicate", "exact"),
    "Source.decontaminate": ({"evaluation_sets": {"mmlu": "mmlu"}}, "sources.web.decontaminate", True),
    "Source.reference": (SCORED, "sources.web.reference", "better"),
    "Source.mine": (MINED, "sources.near.mine", {"sources": ["code"], "like": ["qa"]}),
    "Source.generate": (OWN, "sources.own.generate", {"from": "base", "tokens": 4096}),
    "GenerateConfig.from_": (OWN | {"bases.other": OTHER_BASE}, "sources.own.generate.from", "other"),
    "GenerateConfig.tokens": (OWN, "sources.own.generate.tokens", 4096),
    "GenerateConfig.temperature": (OWN, "sources.own.generate.temperature", 0.5),
    "GenerateConfig.seed": (OWN, "sources.own.generate.seed", 1),
    "Source.tokens": ({"blends.mixed": {"by": "tokens", "sources": ["web", "qa"]}}, "sources.web.tokens", 30_000),
    "Source.category": ({}, "sources.web.category", "web_crawl"),
    "Source.tiers": (NAMED, "sources.web.tiers.long.documents", "short/*"),
    "Source.max_epochs": (
        {"sources.qa.max_epochs": 1, "sources.qa.excess": "move", "sources.qa.tokens": 640}, "sources.qa.max_epochs", 2,
    ),
    "Source.excess": (
        {"sources.qa.max_epochs": 1, "sources.qa.excess": "refuse", "sources.qa.tokens": 640},
        "sources.qa.excess", "move",
    ),
    "Mine.sources": (MINED, "sources.near.mine.sources", ["web"]),
    "Mine.like": (MINED, "sources.near.mine.like", ["code"]),
    "Mine.nearest": (MINED, "sources.near.mine.nearest", 5),
    "Mine.embedder": (MINED, "sources.near.mine.embedder", "folder/embedder"),
    "Tier.tokens": (
        {"sources.web": {"tokens": 10_000, "tiers": {"long": {"tokens": 4000}}}}, "sources.web.tiers.long.tokens", 5000
    ),
    "Tier.documents": (NAMED, "sources.web.tiers.long.documents", "short/*"),
    "Tier.best": (SCORED, "sources.web.tiers.best.best", 0.25),
    "Tokenizer.vocab_size": ({}, "tokenizer.vocab_size", 1024),
    "Tokenizer.folder": (FOLDER, "tokenizer.folder", "other"),
    "Model.architecture": ({}, "model.architecture.ffn_size", 48),
    "Model.pretrain": ({}, "model.pretrain.tokens", 8192),
    "Model.published": (PUBLISHED, "model.published.tokens", 8192),
    "Model.folder": (FOLDER, "model.folder", "other"),
    "Architecture.kind": ({}, "model.architecture.kind", "qwen3"),
    "Architecture.num_layers": ({}, "model.architecture.num_layers", 2),
    "Architecture.hidden_size": ({}, "model.architecture.hidden_size", 32),
    "Architecture.num_heads": ({}, "model.architecture.num_heads", 4),
    "Architecture.num_kv_heads": ({}, "model.architecture.num_kv_heads", 1),
    "Architecture.head_size": ({}, "model.architecture.head_size", 16),
    "Architecture.ffn_size": ({}, "model.architecture.ffn_size", 48),
    "Architecture.tied_embeddings": ({}, "model.architecture.tied_embeddings", False),
    "Pretrain.blend": ({}, "model.pretrain.blend", "coded"),
    "Pretrain.tokens": ({}, "model.pretrain.tokens", 8192),
    "Pretrain.batch_size": ({}, "model.pretrain.batch_size", 8),
    "Pretrain.warmup_tokens": ({}, "model.pretrain.warmup_tokens", 256),
    "Pretrain.max_learning_rate": ({}, "model.pretrain.max_learning_rate", 2e-2),
    "Pretrain.min_learning_rate": ({}, "model.pretrain.min_learning_rate", 2e-3),
    "BatchRamp.start": (RAMP, "batch_size.start", 4),
    "BatchRamp.end": (RAMP, "batch_size.end", 8),
    "BatchRamp.increment": (RAMP, "batch_size.increment", 4),
    "BatchRamp.start_tokens": (RAMP, "batch_size.start_tokens", 512),
    "BatchRamp.over_tokens": (RAMP, "batch_size.over_tokens", 2048),
    "TierWeight.weight": (NAMED, "blends.mixed", {"web": {"weight": 0.25, "tier": "long"}, "qa": 0.75}),
    "TierWeight.tier": (
        NAMED | {"sources.web.tiers.all_of_it": {"tokens": 9000}},
        "blends.mixed", {"web": {"weight": 0.5, "tier": "all_of_it"}, "qa": 0.5},
    ),
    "ByTokens.sources": (
        {"blends.mixed": {"by": "tokens", "sources": ["web", "qa"]}}, "blends.mixed.sources", ["web", "code"]
    ),
    "ByTokens.temperature": (
        {"blends.mixed": {"by": "tokens", "sources": ["web", "code"]}}, "blends.mixed.temperature", 3.0
    ),
    "Multipliers.base": (
        {"blends.mixed": {"by": "multipliers", "base": "coded", "multiply": {"web": 2}}}, "blends.mixed.base", "prose"
    ),
    "Multipliers.multiply": (
        {"blends.mixed": {"by": "multipliers", "base": "coded", "multiply": {"web": 2}}},
        "blends.mixed.multiply", {"web": 3},
    ),
    "Multipliers.tiers": (
        NAMED | {"blends.mixed": {"by": "multipliers", "base": "coded"}}, "blends.mixed.tiers", {"web": "long"}
    ),
    **{
        f"Share.{field}": ({"blends.mixed": {"by": "share", "share": 0.5, "of": "coded", "rest": "prose"},
                            "blends.third": {"qa": 1}}, f"blends.mixed.{field}", value)
        for field, value in (("share", 0.25), ("of", "third"), ("rest", "third"))
    },
    **{
        f"Replay.{field}": ({"blends.mixed": {"by": "replay", "replay": 0.5, "old": "coded", "new": "prose"},
                             "blends.third": {"qa": 1}}, f"blends.mixed.{field}", value)
        for field, value in (("replay", 0.25), ("old", "third"), ("new", "third"))
    },
    **{
        f"ByEpochs.{field}": (
            {"blends.mixed": {"by": "epochs", "epochs": {"qa": 0.05}, "rest": "prose"}}, f"blends.mixed.{field}", value
        )
        for field, value in (("epochs", {"qa": 0.1}), ("rest", "coded"))
    },
    "Switch.learning_rate_ratio": ({}, "switch", {"learning_rate_ratio": 0.5}),
    "Switch.progress": ({"switch": {"progress": 0.5}}, "switch.progress", 0.25),
    "Switch.tokens": ({"switch": {"tokens": 1280}}, "switch.tokens", 2560),
    "Switch.steps": ({"switch": {"steps": 10}}, "switch.steps", 20),
    "PhaseConfig.blend": (PHASES, "phases.two.blend", "coded"),
    "PhaseConfig.until": (TWO, "phases.one.until", {"steps": 30}),
    "PhaseConfig.start": (PHASES, "phases.two.start", "fresh"),
    "PhaseConfig.schedule": (PHASES, "phases.two.schedule", {"max_learning_rate": 3e-3}),
    "PhaseConfig.horizon_tokens": (PHASES, "phases.two.horizon_tokens", 5120),
    "PhaseConfig.sequence_length": (PHASES, "phases.two.sequence_length", 64),
    "PhaseConfig.batch_size": (PHASES, "phases.two.batch_size", 8),
    "PhaseConfig.packing": (PHASES, "phases.two.packing", "best_fit"),
    "PhaseConfig.optimizer": (PHASES, "phases.two.optimizer", {"weight_decay": 0}),
    "PhasePatch.blend": (PHASES, "arms.one.phases.two.blend", "coded"),
    "PhasePatch.until": (TWO, "arms.one.phases.one.until", {"steps": 30}),
    "PhasePatch.start": (PHASES, "arms.one.phases.two.start", "fresh"),
    "PhasePatch.schedule": (PHASES, "arms.one.phases.two.schedule", {"max_learning_rate": 3e-3}),
    "PhasePatch.horizon_tokens": (PHASES, "arms.one.phases.two.horizon_tokens", 5120),
    "PhasePatch.sequence_length": (PHASES, "arms.one.phases.two.sequence_length", 64),
    "PhasePatch.batch_size": (PHASES, "arms.one.phases.two.batch_size", 8),
    "PhasePatch.packing": (PHASES, "arms.one.phases.two.packing", "best_fit"),
    "PhasePatch.optimizer": (PHASES, "arms.one.phases.two.optimizer", {"weight_decay": 0}),
    "PhaseConfig.gate": (TWO, "phases.one.gate", {"score": "bits_per_byte", "at_most": 2.0}),
    "PhasePatch.gate": (TWO, "arms.one.phases.one.gate", {"score": "bits_per_byte", "at_most": 2.0}),
    "GateConfig.score": (GATED, "phases.one.gate.score", "bits_per_byte.web"),
    "GateConfig.at_most": (GATED, "phases.one.gate.at_most", 3.0),
    "GateConfig.at_least": (
        TWO | {"phases.one.gate": {"score": "accuracy", "at_least": 0.5}}, "phases.one.gate.at_least", 0.6
    ),
    "GateConfig.check_at": (GATED, "phases.one.gate.check_at", [0.5, 1]),
    "Arm.gb": ({}, "arms.one.gb", "coded"),
    "Arm.qb": ({}, "arms.one.qb", "coded"),
    "Arm.switch": ({}, "arms.one.switch", {"progress": 0.5}),
    "Arm.phases": ({}, "arms.one.phases", {"qb": {"sequence_length": 64}}),
    "Arm.schedule": ({}, "arms.one.schedule", {"floor_ratio": 0.1}),
    "Arm.horizon_tokens": ({}, "arms.one.horizon_tokens", 2560),
    "Arm.start": ({}, "arms.one.start", "fresh"),
    "Arm.sequence_length": ({}, "arms.one.sequence_length", 64),
    "Arm.batch_size": ({}, "arms.one.batch_size", 8),
    "Arm.optimizer": ({}, "arms.one.optimizer", {"beta2": 0.99}),
    "Arm.seed": ({}, "arms.one.seed", 1),
    "Optimizer.beta1": ({}, "optimizer.beta1", 0.8),
    "Optimizer.beta2": ({}, "optimizer.beta2", 0.99),
    "Optimizer.epsilon": ({}, "optimizer.epsilon", 1e-6),
    "Optimizer.weight_decay": ({}, "optimizer.weight_decay", 0),
    "Optimizer.max_grad_norm": ({}, "optimizer.max_grad_norm", 0.5),
    "Training.bad_batch": ({}, "training.bad_batch", "skip"),
    "Training.spike_sigmas": ({"training": {"bad_batch": "skip"}}, "training.spike_sigmas", 5),
    "Evaluation.suites": ({}, "evaluation.suites", ["quickstart", "retention"]),
    "Evaluation.data_folder": ({"evaluation": {"suites": ["retention"]}}, "evaluation.data_folder", "data"),
    "Evaluation.questions": ({}, "evaluation.questions", 10),
    "Evaluation.bytes_per_source": ({}, "evaluation.bytes_per_source", 1000),
    "Evaluation.checkpoints": ({}, "evaluation.checkpoints", ["switch"]),
    "Evaluation.continual": ({}, "evaluation.continual", {"every_steps": 10}),
    "Continual.bytes_per_source": (
        {"evaluation": {"continual": {"every_steps": 10}}}, "evaluation.continual.bytes_per_source", 100
    ),
    "Continual.questions": ({"evaluation": {"continual": {"every_steps": 10}}}, "evaluation.continual.questions", 7),
}  # fmt: skip
for _kind, _more in {
    "Cosine": {}, "Linear": {"kind": "linear"}, "Constant": {"kind": "constant"},
    "WSD": {"kind": "wsd", "decay_tokens": 1024}, "InverseSqrt": {"kind": "inverse_sqrt", "timescale_tokens": 512},
    "Rewarm": {"kind": "rewarm", "max_learning_rate": 2e-3, "start_learning_rate": 1e-3},
    "Infinite": {"kind": "infinite", "cooldown_tokens": 1024, "constant_ratio": 0.5, "anneal_tokens": 512},
}.items():  # fmt: skip
    _given = schedule(**_more, **WARM)
    DECIDING |= {
        f"{_kind}.max_learning_rate": (_given, "schedule.max_learning_rate", 3e-3),
        f"{_kind}.warmup_tokens": (_given, "schedule.warmup_tokens", 1024),
        f"{_kind}.warmup_fraction": (
            schedule(**_more, warmup_fraction=0.1), "schedule.warmup_fraction", 0.2
        ),
        f"{_kind}.start_learning_rate": (_given, "schedule.start_learning_rate", 5e-4),
    }  # fmt: skip
    if _kind != "Constant":
        DECIDING |= {
            f"{_kind}.floor_ratio": (_given, "schedule.floor_ratio", 0.4),
            f"{_kind}.floor_learning_rate": (_given, "schedule.floor_learning_rate", 4e-4),
        }
_WSD, _INFINITE = {"kind": "wsd"}, {"kind": "infinite", "constant_ratio": 0.5, "anneal_tokens": 512}
DECIDING |= {
    "WSD.decay": (schedule(**_WSD, decay_tokens=1024), "schedule.decay", "cosine"),
    "WSD.decay_tokens": (schedule(**_WSD, decay_tokens=1024), "schedule.decay_tokens", 2048),
    "WSD.decay_fraction": (schedule(**_WSD, decay_fraction=0.2), "schedule.decay_fraction", 0.4),
    "Rewarm.decay": (schedule(kind="rewarm", max_learning_rate=2e-3, **WARM), "schedule.decay", "linear"),
    "Infinite.cooldown": (schedule(**_INFINITE, cooldown_tokens=1024), "schedule.cooldown", "linear"),
    "Infinite.cooldown_tokens": (schedule(**_INFINITE, cooldown_tokens=1024), "schedule.cooldown_tokens", 2048),
    "Infinite.cooldown_fraction": (schedule(**_INFINITE, cooldown_fraction=0.2), "schedule.cooldown_fraction", 0.3),
    "Infinite.constant_ratio": (schedule(**_INFINITE, cooldown_tokens=1024), "schedule.constant_ratio", 0.25),
    "Infinite.constant_learning_rate": (
        schedule(kind="infinite", constant_learning_rate=5e-4, anneal_tokens=512, cooldown_tokens=1024),
        "schedule.constant_learning_rate", 2e-4,
    ),
    "Infinite.anneal": (schedule(**_INFINITE, cooldown_tokens=1024), "schedule.anneal", "cosine"),
    "Infinite.anneal_tokens": (schedule(**_INFINITE, cooldown_tokens=1024), "schedule.anneal_tokens", 1024),
    "Infinite.anneal_fraction": (
        schedule(kind="infinite", constant_ratio=0.5, cooldown_tokens=1024, anneal_fraction=0.1),
        "schedule.anneal_fraction", 0.2,
    ),
    "InverseSqrt.timescale_tokens": (
        schedule(kind="inverse_sqrt", timescale_tokens=512), "schedule.timescale_tokens", 1024
    ),
}  # fmt: skip

CONTINUAL = {"evaluation": {"continual": {"every_steps": 10, "dense_steps": 2, "dense_every_steps": 1}}}
TWO_PROCESSES = {"training.num_processes": 2, "model.pretrain.num_processes": 2}
UNCHANGED: dict[str, Change] = {
    "Recipe.name": ({}, "name", "other"),
    "Recipe.question": ({}, "question", "Why?"),
    "Recipe.published": ({}, "published", {"source": "a", "score": "b", "base": 1.0, "arms": {"one": 2.0}}),
    "Recipe.budget": ({}, "budget", {"max_tokens": "1B"}),
    "Recipe.halving": ({}, "halving", {"at": [0.5]}),
    "Recipe.hardware": (
        {}, "hardware", {"gpu": "H100-SXM", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 2}
    ),
    "Recipe.cluster": ({}, "cluster", {"queue": "other"}),
    "Source.language": ({}, "sources.web.language", "de"),
    "Pretrain.num_processes": ({}, "model.pretrain.num_processes", 2),
    "Training.num_processes": ({}, "training.num_processes", 2),
    "Training.replicas": (TWO_PROCESSES, "training.replicas", 2),
    "Training.tensor_parallel": (TWO_PROCESSES, "training.tensor_parallel", 2),
    "Training.micro_batch_size": ({}, "training.micro_batch_size", 2),
    "Training.activation_checkpointing": ({}, "training.activation_checkpointing", False),
    "Training.checkpoint_every_seconds": ({}, "training.checkpoint_every_seconds", 1),
    "Training.keep_checkpoints": ({}, "training.keep_checkpoints", 3),
    "Training.hang_seconds": ({}, "training.hang_seconds", 1),
    "Training.max_restarts": ({}, "training.max_restarts", 0),
    "Evaluation.metric": ({}, "evaluation.metric", "accuracy"),
    "Evaluation.run_generated_code": ({}, "evaluation.run_generated_code", True),
    "Continual.every_steps": (CONTINUAL, "evaluation.continual.every_steps", 5),
    "Continual.dense_steps": (CONTINUAL, "evaluation.continual.dense_steps", 3),
    "Continual.dense_every_steps": (CONTINUAL, "evaluation.continual.dense_every_steps", 2),
}  # fmt: skip
SHORT_FOR_OTHERS = {"Recipe.catalogue", "Architecture.preset"}
OTHER_CONTENT = {"Source.heldout"}
"""Its folder's content is an input, with the token file's."""


def given(first: dict[str, Any]) -> dict[str, Any]:
    study = STUDY
    for path, value in first.items():
        study = put(study, path, value)
    return study


def fields_of(annotation: Any, seen: list[type]) -> Iterator[str]:
    """The fields of all sections below `annotation`, as Section.field, but those of what decides nothing as a whole."""
    if not (isinstance(annotation, type) and issubclass(annotation, Config | RootModel)):
        for argument in typing.get_args(annotation):
            yield from fields_of(argument, seen)
        return
    if annotation in seen:
        return
    seen.append(annotation)
    for name, field in annotation.model_fields.items():
        only_value = typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation)) == 1
        if issubclass(annotation, Config) and not only_value:  # such as `kind: wsd`, which names the section
            yield f"{annotation.__name__}.{name}"
        if name not in NOT_DECIDING.get(annotation.__name__, ()):
            yield from fields_of(field.annotation, seen)


def test_every_field_of_a_recipe_is_known_to_decide_or_listed_as_not_deciding() -> None:
    found = set(fields_of(Recipe, []))
    not_deciding = {f"{section}.{field}" for section, fields in NOT_DECIDING.items() for field in fields}
    assert not_deciding <= found
    assert found - not_deciding - OTHER_CONTENT == DECIDING.keys()
    assert not_deciding - SHORT_FOR_OTHERS == UNCHANGED.keys()


@pytest.mark.parametrize("field", DECIDING)
def test_a_deciding_field_changes_an_output(field: str) -> None:
    first, path, value = DECIDING[field]
    assert outputs(given(first)) != outputs(put(given(first), path, value))


@pytest.mark.parametrize("field", UNCHANGED)
def test_a_field_that_does_not_decide_changes_none(field: str) -> None:
    first, path, value = UNCHANGED[field]
    assert outputs(given(first)) == outputs(put(given(first), path, value))


def test_every_setting_of_a_step_is_in_the_digest() -> None:
    """A setting that is added decides without another line of code."""
    settings = parse_recipe(STUDY, "recipe.yaml").step_settings()
    assert deciding(settings).keys() | {"spike_sigmas"} == StepSettings.model_fields.keys()
