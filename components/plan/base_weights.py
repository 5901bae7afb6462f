"""Weights compared with the architecture: all are known, there, of their shapes, of a type that trains, and finite."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from switchpoint.components.plan.base_config import said
from switchpoint.components.plan.weight_files import StoredWeight, named
from switchpoint.components.recipe.errors import BadInput

TRAINABLE = ("F32", "BF16", "F16")
MASK = re.compile(r"(^|\.)(attn|attention)\.(bias|masked_bias)$")
"""Causal masks that older versions of transformers stored as if they were weights."""
SCANNED_AT_ONCE = 1 << 26
"""Values that are in memory at a time."""


def check_weights(config: Any, stored: Mapping[str, StoredWeight], folder: Path) -> Any:
    """Raise BadInput where the weights are not those of the architecture. Return the model, without memory for weights.

    transformers itself maps the stored names to the model's, on the meta device.
    """
    weights = {name: one for name, one in stored.items() if not _is_mask(name, one)}
    model, info = _load_headers(config, weights, folder)
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    wrong = {
        name: one
        for name, one in weights.items()
        if one.dtype not in TRAINABLE and not any(pattern.search(name) for pattern in ignored)
    }
    if wrong:
        name, one = min(wrong.items())
        raise BadInput(
            "weights of a type that cannot be trained: the model is quantized, and config.json does not say so",
            file=str(one.file), field=name, given=f"{one.dtype}, in {named(sorted(wrong))}",
            allowed=", ".join(TRAINABLE),
        )  # fmt: skip
    unknown, missing = sorted(info["unexpected_keys"]), sorted(info["missing_keys"])
    if unknown or missing:
        raise BadInput(
            "config.json describes a model without weights that are stored: they would be left out" if unknown
            else "weights are missing: they would begin at random",
            file=str(folder), given="; ".join(
                f"{what} {named(names)}" for what, names in (("unknown", unknown), ("missing", missing)) if names
            ),
            allowed=f"the weights of {type(model).__name__} as config.json describes it",
        )  # fmt: skip
    if info["mismatched_keys"]:
        name, given, wanted = min(info["mismatched_keys"])
        raise BadInput(
            "weights have another shape than config.json says", file=str(folder), field=name,
            given=f"{list(given)}, and {len(info['mismatched_keys'])} such weights", allowed=list(wanted),
        )  # fmt: skip
    if any(getattr(module, "is_causal", None) is False for module in model.modules()):
        raise BadInput(
            "the model attends to later tokens", file=str(folder / "config.json"),
            given=f"model_type: {config.model_type}", allowed="a causal language model (`is_decoder: true`)",
        )  # fmt: skip
    return model


def check_values(model: Any, stored: Mapping[str, StoredWeight], folder: Path) -> None:
    """Read all weights. Raise BadInput for values that are not finite, and for a tied head that is another matrix."""
    import torch

    for name, weight in sorted(stored.items()):
        for part in _parts(weight, name):
            if not part.numel() or not part.is_floating_point():
                continue
            # They carry NaN and infinity, and are found twenty times as fast as isfinite of every value in bf16.
            extremes = torch.stack(torch.aminmax(part))
            if not bool(torch.isfinite(extremes).all()):
                number = int((~torch.isfinite(part)).sum())
                raise BadInput(
                    "a weight holds values that are not finite (NaN or infinity)", file=str(weight.file), field=name,
                    given=f"{number:,} at least", allowed="finite values: copy the model again, or take another one",
                )  # fmt: skip
    for target, source in sorted(model.all_tied_weights_keys.items()):
        ends = [_stored_name(model, name, stored) for name in (target, source)]
        if None in ends:
            continue
        pairs = zip(*(_parts(stored[str(name)], str(name)) for name in ends), strict=True)
        if not all(torch.equal(one.float(), other.float()) for one, other in pairs):
            raise BadInput(
                "config.json ties two weights that differ: one of them would be left out", file=str(folder),
                field="tie_word_embeddings", given=f"{ends[0]} and {ends[1]}",
                allowed="`tie_word_embeddings: false` in config.json if the model was trained so",
            )  # fmt: skip


def _load_headers(config: Any, weights: Mapping[str, StoredWeight], folder: Path) -> tuple[Any, dict[str, Any]]:
    import torch
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils import logging

    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    shapes = {name: torch.empty(one.shape, dtype=torch.float32, device="meta") for name, one in weights.items()}
    shown = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        model, info = model_class.from_pretrained(
            None, config=config, state_dict=shapes, device_map={"": "meta"}, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True,
        )  # fmt: skip
    except Exception as error:  # each family fails in its own way
        is_padding = "padding_idx" in str(error).lower()
        raise BadInput(
            f"transformers cannot build the model: {said(error)}", file=str(folder / "config.json"),
            field="pad_token_id" if is_padding else "",
            given=config.pad_token_id if is_padding else f"model_type: {config.model_type}",
            allowed="an id of the vocabulary, or null: nothing is padded here" if is_padding else "values that fit",
        ) from None  # fmt: skip
    finally:
        logging.set_verbosity(shown[1])
        if shown[0]:
            logging.enable_progress_bar()
    return model, info


def _is_mask(name: str, weight: StoredWeight) -> bool:
    is_square = len(weight.shape) == 4 and weight.shape[:2] == (1, 1) and weight.shape[2] == weight.shape[3]
    return MASK.search(name) is not None and (is_square or not weight.shape)


def _parts(weight: StoredWeight, name: str) -> Iterator[Any]:
    """Yield a stored weight, some rows at a time."""
    from safetensors import safe_open

    with safe_open(weight.file, framework="pt") as file:
        if not weight.shape or 0 in weight.shape:
            yield file.get_tensor(name)
            return
        values, rows = file.get_slice(name), weight.shape[0]
        row_size = max(1, _size(weight.shape[1:]))
        step = max(1, SCANNED_AT_ONCE // row_size)
        for begin in range(0, rows, step):
            yield values[begin : min(rows, begin + step)]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _stored_name(model: Any, name: str, stored: Mapping[str, StoredWeight]) -> str | None:
    """Return the stored name of a weight of the model: its own, or without the prefix of the model around it."""
    prefix = f"{model.base_model_prefix}."
    return next((one for one in (name, name.removeprefix(prefix), prefix + name) if one in stored), None)
