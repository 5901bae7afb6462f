"""A study at another scale: tokens, model and batch shrunk together, so that its geometry stays.

What is a share or a ratio stays as it is (weights, switch ratios, floors, epochs by the scaled sizes); what is an
amount shrinks: tokens by one factor, the base's by a smaller one.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.fields import MAX_EXACT_INT, read_tokens

TOKENS = Fraction(1, 10**6)
"""300B of continued training become 300 thousand."""
BASE_TOKENS = Fraction(1, 4 * 10**6)
"""8T of pretraining become 2 million: enough for a base that has learnt, in minutes."""
SEQUENCE_LENGTH = Fraction(1, 32)
BATCH_SIZE = Fraction(1, 192)
WIDTH, HEADS, LAYERS = Fraction(1, 64), Fraction(1, 8), Fraction(1, 10)
VOCAB_SIZE = 4096
LEARNING_RATE = Fraction(10, 3)
"""Small models learn at higher rates: 4.5e-5 becomes 1.5e-4."""
NUM_PROCESSES = 2
SEEDS = [0, 1, 2]
"""The seeds of a study that gives none: single runs of small models tell little, and are cheap."""
CONTINUAL = {
    "every_steps": 40, "dense_steps": 10, "dense_every_steps": 2, "bytes_per_source": 2_000, "questions": 16,
}  # fmt: skip
"""The continual evaluation of a study that gives none."""
CLUSTER: dict[str, Any] = {
    "device": "none", "processes_per_node": 2, "cpus_per_node": 2, "memory_gib_per_node": 4, "shared_memory_gib": 1,
    "scratch_gib": 5,
}  # fmt: skip
"""Small pods without GPUs, for a study that runs on a cluster."""
BENCHMARKS = ("suites", "data_folder", "run_generated_code", "metric")
"""Fields of the evaluation that are left out: what remains is local."""


def scaled_to_cpu(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study at a size for two cores, its published base pretrained here. Sections are mappings.

    Raise BadInput if there is no published base, whose geometry is what shrinks.
    """
    model = study.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("published"), dict):
        raise BadInput(
            "only a study with a published base is scaled", field="model.published",
            allowed="a study such as paper/table_9; others run as they are",
        )  # fmt: skip
    changed = {
        field: value if field in ("blends", "model", "left_out") else _scaled(value, TOKENS)
        for field, value in study.items()
        if field not in ("hardware", "catalogue", "cluster", "training", "bases")
    }
    changed = _amounts(changed, study)
    if isinstance(study.get("training"), dict):  # processes and memory are the cluster's
        cluster = ("num_processes", "replicas", "tensor_parallel", "micro_batch_size")
        changed["training"] = {name: value for name, value in study["training"].items() if name not in cluster}
    if isinstance(changed.get("budget"), dict):
        changed["budget"] = {name: value for name, value in changed["budget"].items() if name == "max_tokens"}
    changed["model"] = _pretrained_here(model)
    if isinstance(bases := study.get("bases"), dict):
        changed["bases"] = {name: _pretrained_here(base) for name, base in bases.items()}
    if isinstance(halving := changed.get("halving"), dict):  # by a score that there is here
        changed["halving"] = {name: value for name, value in halving.items() if name != "metric"}
    if not {"seed", "seeds"} & study.keys() and not _any_seed(study.get("arms")):
        changed["seeds"] = SEEDS
    changed["tokenizer"] = {"vocab_size": VOCAB_SIZE}
    changed["cluster"] = CLUSTER
    if isinstance(study.get("evaluation"), dict):  # benchmarks tell nothing of a model of this size
        changed["evaluation"] = {name: one for name, one in study["evaluation"].items() if name not in BENCHMARKS}
    if isinstance(evaluation := changed.get("evaluation", {}), dict):
        changed["evaluation"] = {"continual": CONTINUAL} | evaluation
    changed["name"] = f"{study.get('name', 'study')}-cpu"
    return changed


def _pretrained_here(base: Any) -> Any:
    """Return a base whose weights are not at hand as one that is pretrained at this scale; others as they are."""
    if not isinstance(base, dict) or not isinstance(base.get("published"), dict):
        return base
    return {
        "architecture": _shape(base.get("architecture", {})),
        "pretrain": _scaled(base["published"], BASE_TOKENS) | {"num_processes": NUM_PROCESSES},
    }


def _any_seed(arms: Any) -> bool:
    return isinstance(arms, dict) and any(isinstance(arm, dict) and "seed" in arm for arm in arms.values())


def _amounts(changed: dict[str, Any], study: dict[str, Any]) -> dict[str, Any]:
    """Return top-level fields that are amounts by themselves."""
    if "horizon_tokens" in study:
        changed["horizon_tokens"] = _tokens(study["horizon_tokens"], TOKENS)
    for field, scale in (("sequence_length", _length), ("batch_size", _batch)):
        if field in study:
            changed[field] = scale(study[field])
    return changed


def _scaled(value: Any, tokens: Fraction) -> Any:
    """Return a section with its amounts shrunk, whatever it holds."""
    if isinstance(value, list):
        return [_scaled(item, tokens) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {}
    for name, inside in value.items():
        scale = _scale_of(str(name), tokens)
        named = name in ("horizon_tokens", "sequence_length", "batch_size") and isinstance(inside, dict)
        if scale is None:
            changed[name] = _scaled(inside, tokens)
        elif named and not _is_ramp(inside):  # an axis of a grid: named values
            changed[name] = {key: scale(item) for key, item in inside.items()}
        else:
            changed[name] = scale(inside)
    return changed


def _scale_of(name: str, tokens: Fraction) -> Callable[[Any], Any] | None:
    """Return how a field of this name shrinks; None if it holds no amount."""
    if name == "tokens" or name.endswith("_tokens"):
        return lambda value: _tokens(value, tokens)
    if name.endswith("learning_rate"):
        return _learning_rate
    return {"sequence_length": _length, "batch_size": _batch, "steps": _steps}.get(name)


def _is_ramp(value: dict[str, Any]) -> bool:
    return "over_tokens" in value


def _tokens(value: Any, factor: Fraction) -> Any:
    try:
        tokens = read_tokens(value)
    except ValueError:
        return value  # refused later, with its position
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not 0 < tokens <= MAX_EXACT_INT:
        return value
    return max(1, round(Fraction(tokens) * factor))


def _learning_rate(value: Any) -> Any:
    try:
        return float(f"{float(value) * float(LEARNING_RATE):.6g}")
    except (TypeError, ValueError, OverflowError):
        return value


def _times(value: Any, factor: Fraction, least: int) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_EXACT_INT
    return max(least, round(value * factor)) if whole else value


def _length(value: Any) -> Any:
    return _times(value, SEQUENCE_LENGTH, 8)


def _batch(value: Any) -> Any:
    if isinstance(value, dict):
        sizes = {name: _times(value[name], BATCH_SIZE, 1) for name in ("start", "end", "increment") if name in value}
        spans = {name: _tokens(value[name], BASE_TOKENS) for name in ("start_tokens", "over_tokens") if name in value}
        return value | sizes | spans
    return _times(value, BATCH_SIZE, 1)


def _steps(value: Any) -> Any:
    return _times(value, TOKENS / (SEQUENCE_LENGTH * BATCH_SIZE), 0)


def _shape(shape: dict[str, Any]) -> dict[str, Any]:
    small = {
        "num_layers": _times(shape.get("num_layers"), LAYERS, 2),
        "hidden_size": _times(shape.get("hidden_size"), WIDTH, 16),
        "num_heads": _times(shape.get("num_heads"), HEADS, 1),
        "num_kv_heads": _times(shape.get("num_kv_heads"), HEADS, 1),
        "ffn_size": _times(shape.get("ffn_size"), WIDTH, 16),
    }
    return {name: value for name, value in shape.items() if name != "head_size"} | small
