"""The configuration of a model's folder: the architecture that it describes, and why some are not trained."""

import re
from pathlib import Path
from textwrap import shorten
from typing import Any

from switchpoint.components.recipe.errors import BadInput

UNLIMITED = ("bloom", "falcon_mamba", "mamba", "mamba2")
"""Families that read a sequence of any length: state spaces, and attention that falls with the distance (ALiBi)."""

MASKING = (
    "cohere", "gemma", "gemma2", "gemma3_text", "glm", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite",
    "llama", "mistral", "nemotron", "olmo", "olmo2", "olmo3", "phi", "phi3", "qwen2", "qwen3", "smollm3", "stablelm",
    "starcoder2",
)  # fmt: skip
"""Families that were seen to keep attention within a document where positions begin at 0 again. Others take positions
and attend across, without a word."""
EXPERTS = re.compile(r"(^|_)(num|n)_(\w+_)?experts$")
"""How families call the number of their experts: num_local_experts, n_routed_experts, moe_num_experts."""


def read_base_config(folder: Path) -> Any:
    """Return the configuration of transformers. Raise BadInput where the model that it describes is not trained."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    file = str(folder / "config.json")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each family checks its configuration in its own way
        raise BadInput(
            f"transformers cannot read it: {said(error)}", file=file,
            allowed="the config.json of a causal language model that transformers knows; code in a folder is not run",
        ) from None  # fmt: skip
    kind = config.model_type
    if config.get_text_config() is not config:
        raise BadInput(
            "the model also reads images or sound: its language model alone can be trained", file=file,
            given=f"model_type: {kind}", allowed="a folder with the language model alone, with its own config.json",
        )  # fmt: skip
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise BadInput("not a causal language model", file=file, given=f"model_type: {kind}")
    _check_weights_are_plain(config, file)
    experts = _experts(config.to_dict())
    if experts:
        raise BadInput(
            "a mixture of experts would be trained without the router's auxiliary loss, which keeps its experts in use",
            file=file, given=f"model_type: {kind}, {experts}", allowed="a dense model",
        )  # fmt: skip
    return config


def said(error: Exception) -> str:
    """Return what a library says in one short line."""
    return shorten(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 200, placeholder=" ...")


def num_positions(config: Any, folder: Path) -> int | None:
    """Return how long a sequence the model reads at most; None: there is no limit. Raise BadInput where the
    configuration states none.
    """
    if config.model_type in UNLIMITED:
        return None
    for field in ("max_position_embeddings", "max_seq_len"):
        value = getattr(config, field, None)
        if isinstance(value, int) and value > 0:
            return value
    raise BadInput(
        "the configuration does not say how long a sequence the model reads", file=str(folder / "config.json"),
        field="max_position_embeddings", given=f"model_type: {config.model_type}",
        allowed="the length that it was trained with; families without a limit: " + ", ".join(UNLIMITED),
    )  # fmt: skip


def _check_weights_are_plain(config: Any, file: str) -> None:
    for field in ("quantization_config", "compression_config"):
        given = getattr(config, field, None)
        if given:
            method = given.get("quant_method", "") if isinstance(given, dict) else type(given).__name__
            raise BadInput(
                "the weights are quantized, and cannot be trained as they are", file=file, field=field, given=method,
                allowed="the model in bf16, fp16 or fp32, as it was before it was quantized",
            )  # fmt: skip


def _experts(config: Any) -> str:
    """Return the first field, at any depth, that counts more than one expert; empty if there is none."""
    if not isinstance(config, dict):
        return ""
    for field, value in config.items():
        if EXPERTS.search(str(field)) and isinstance(value, int) and value > 1:
            return f"{field}: {value}"
        if inside := _experts(value):
            return inside
    return ""
