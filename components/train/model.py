"""Models: built from a configuration or a Hugging Face folder. Parameters are always fp32."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loss import install_loss
from switchpoint.components.train.parallel import Ranks, parallelise
from switchpoint.components.train.weights import load_folder, spread

PROBED_TOKENS = 16


def build_model(job: TrainJob, ranks: Ranks) -> PreTrainedModel:
    """Return the job's model on its processes, its weights as `start` says (for a checkpoint they are loaded later).

    Shapes first, then shards, then weights: no process ever holds a whole copy, except the first for random weights
    and for formats that cannot be read in slices.
    """
    scratch = job.start == "scratch"
    config = model_config(job.architecture) if scratch else _folder_config(job)
    longest = max(phase.settings.sequence_length for phase in job.phases)
    positions = getattr(config, "max_position_embeddings", None)  # some families have no limit, or call it otherwise
    if scratch or (positions is not None and longest > positions):
        # Only of a base that was pretrained here, whose embeddings are rotary: of others `plan` refuses it.
        config.max_position_embeddings = longest
    with init_empty_weights(include_buffers=False):
        model = _from_config(config)
    model.tie_weights()
    model.train()
    update_every_row(model)
    if job.settings.document_mask and ranks.device.type == "cuda":
        model.set_attn_implementation("flex_attention")
    install_loss(model, tensor_parallel=ranks.training.tensor_parallel > 1)
    parallelise(model, ranks)
    _allocate(model, ranks.device)
    if scratch and not job.start_checkpoint:
        torch.manual_seed(job.seed)
        spread(model, _from_config(config).state_dict() if ranks.rank == 0 else {})
    elif job.start_model:
        with reading_folder(job.start_model):
            load_folder(model, Path(job.start_model))
    return model


def _from_config(config: PretrainedConfig) -> PreTrainedModel:
    return cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, dtype=torch.float32))


def update_every_row(model: nn.Module) -> None:
    """Give every row of an embedding its gradient. Nothing is padded here, and many configurations name the end of text
    as padding: its row would move by weight decay alone. The configuration, which is exported, keeps its pad_token_id.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None


@torch.no_grad()
def gives_numbers(model: nn.Module, ranks: Ranks, vocab_size: int) -> bool:
    """Return whether the model's logits of a plain text, the first tokens of the vocabulary, are finite."""
    tokens = torch.arange(min(vocab_size, PROBED_TOKENS), device=ranks.device)[None]
    is_bad = not bool(torch.isfinite(model(input_ids=tokens, use_cache=False).logits).all())
    return not ranks.sum(torch.tensor([float(is_bad)])).item()


def _folder_config(job: TrainJob) -> PretrainedConfig:
    folder = job.start_model or job.model_config_folder
    with reading_folder(folder):
        return AutoConfig.from_pretrained(folder, local_files_only=True)


@contextmanager
def reading_folder(folder: str) -> Iterator[None]:
    """Turn what libraries raise for a damaged folder into BadInput: it stays damaged, however often a job is restarted.

    What the system raises, such as a network drive that does not answer, has a number and may pass.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadInput(f"the model cannot be read: {error}", file=folder, field="model.folder") from None


def _allocate(model: PreTrainedModel, device: torch.device) -> None:
    """Allocate memory for the parameters, which had shapes only. Buffers (rotary frequencies) keep the values that they
    were made with.
    """
    buffers = dict(model.named_buffers())
    model.to_empty(device=device)
    for name, buffer in buffers.items():
        model.get_buffer(name).copy_(buffer)
    model.tie_weights()


def model_config(architecture: dict[str, Any]) -> PretrainedConfig:
    """Return a transformers configuration from the recipe's `model.architecture`, and the tokenizer."""
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
        pad_token_id=None,
        sliding_window=None,
    )
