"""Models: built from a configuration or a Hugging Face folder, exported as one. Parameters are always fp32."""

import hashlib
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from components.train.job import TrainJob


def build_model(job: TrainJob, world_size: int) -> PreTrainedModel:
    """The job's model, its weights as `start` says (for a checkpoint they are loaded later), sharded over ranks."""
    if job.start == "scratch":
        torch.manual_seed(job.seed)
        model = AutoModelForCausalLM.from_config(model_config(job.architecture), dtype=torch.float32)
    elif job.start_model:
        model = AutoModelForCausalLM.from_pretrained(job.start_model, dtype=torch.float32, local_files_only=True)
    else:
        config = AutoConfig.from_pretrained(job.model_config_folder, local_files_only=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # With a cache, attention would leak across documents wherever positions restart; training never needs one.
    model.config.use_cache = False
    longest = max(phase.sequence_length for phase in job.phases)
    if job.start == "scratch" or longest > model.config.max_position_embeddings:
        model.config.max_position_embeddings = longest  # what the exported folder tells; rotary embeddings know no end
    model.train()
    if world_size > 1:
        shard(model)
    return model


def model_config(architecture: dict[str, Any]) -> PretrainedConfig:
    """A transformers configuration from the recipe's `model.architecture`, and the tokenizer."""
    return AutoConfig.for_model(
        architecture["kind"],
        vocab_size=architecture["vocab_size"],
        hidden_size=architecture["hidden_size"],
        intermediate_size=architecture["ffn_size"],
        num_hidden_layers=architecture["num_layers"],
        num_attention_heads=architecture["num_heads"],
        num_key_value_heads=architecture["num_kv_heads"],
        head_dim=architecture["head_width"],
        tie_word_embeddings=architecture["tied_embeddings"],
        bos_token_id=architecture["end_of_document"],
        eos_token_id=architecture["end_of_document"],
    )


SMALL_MODEL_PARAMETERS = 50_000_000


def shard(model: PreTrainedModel) -> None:
    """FSDP2: one unit per decoder block, the rest (embeddings, head, final norm) in the root's.

    A small model is a single unit that stays gathered: there, messages cost more than memory (2.4 M parameters on
    two processes of a CPU: 4,950 tokens/s against 3,830).
    """
    if sum(parameter.numel() for parameter in model.parameters()) < SMALL_MODEL_PARAMETERS:
        fully_shard(model, reshard_after_forward=False)
        return
    blocks = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    for block in blocks:
        fully_shard(block)
    fully_shard(model)


def full_state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """All weights, unsharded, on rank 0 (empty on the others); of tied ones only the one that is kept."""
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    tied = set(model.all_tied_weights_keys)
    return cast(dict[str, torch.Tensor], {name: value for name, value in state.items() if name not in tied})


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names and bytes of all weights: equal where and only where the bits are."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def export(model: PreTrainedModel, state: dict[str, torch.Tensor], folder: Path, tokenizer: Path) -> None:
    """A folder that `from_pretrained` loads, tokenizer included; complete or not there. Rank 0 only."""
    working = folder.with_name(f".{folder.name}")
    shutil.rmtree(working, ignore_errors=True)
    model.save_pretrained(working, state_dict=state)
    for path in tokenizer.iterdir():
        if path.name != "record.json" and path.suffix in {".json", ".txt", ".jinja"} and path.name != "config.json":
            shutil.copy(path, working)
    shutil.rmtree(folder, ignore_errors=True)
    working.rename(folder)
