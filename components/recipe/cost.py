"""What training costs, from the model's shape alone: parameters, operations, bytes, hours, money.

L sequence length, N matrix parameters.
"""

from dataclasses import dataclass

from switchpoint.components.recipe.hardware import GPUS, Hardware
from switchpoint.components.recipe.model import Architecture
from switchpoint.components.recipe.training import Training

STATE_BYTES = 4 + 4 + 8
"""Bytes per parameter: fp32 weight, fp32 gradient, two fp32 moments of AdamW. All are sharded (FSDP2)."""
CHECKPOINT_BYTES = 4 + 8
"""Bytes per parameter of a checkpoint: weight and moments."""
MODEL_BYTES = 4
"""Bytes per parameter of an exported model."""
COMPUTE_BYTES = 2
"""Bytes of a bf16 number."""
SAVED_PER_LAYER = 2
"""With activation checkpointing: the input of every block, and as much again for the block that is recomputed."""
SAVED_WITHOUT = 17
"""Without: 34 bytes per token and unit of width (arXiv 2205.05198, section 4.1, attention scores never stored)."""
LOGITS_CHUNK = 8
"""The chunked cross entropy holds this part of a sample's logits at a time, in fp32, with its gradient."""


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Parameters of a model, by what they do."""

    embedding: int
    """Input embedding and, where it is not tied, the head."""
    blocks: int
    largest_block: int
    matrices: int
    """Parameters that every token is multiplied by: the blocks' matrices and the head."""

    @property
    def total(self) -> int:
        return self.embedding + self.blocks


def model_size(model: Architecture, vocab_size: int) -> ModelSize:
    """Return the model's size from its shape and what its family adds: biases, norms of queries and keys, two vectors
    per norm.
    """
    width = model.hidden_size
    queries, keys = model.num_heads * model.head_width, model.num_kv_heads * model.head_width
    attention = 2 * width * queries + 2 * width * keys
    ffn = (2 if model.kind == "nemotron" else 3) * width * model.ffn_size
    norm = width * (2 if model.kind == "nemotron" else 1)
    extra = {"qwen2": queries + 2 * keys, "qwen3": 2 * model.head_width}.get(model.kind, 0)
    block = attention + ffn + 2 * norm + extra
    table = vocab_size * width
    return ModelSize(
        embedding=table * (1 if model.tied_embeddings else 2), blocks=model.num_layers * block + norm,
        largest_block=block, matrices=model.num_layers * (attention + ffn) + table,
    )  # fmt: skip


def train_flops(model: Architecture, vocab_size: int, tokens: int, sequence_length: int) -> int:
    """Return the operations of training on `tokens`, forward and backward: tokens x (6 N + 12 layers x heads x head
    size x L).

    The convention that MFU is stated in (PaLM, arXiv 2204.02311, appendix B): attention in full, no recomputation.
    """
    matrices = model_size(model, vocab_size).matrices
    attention = 12 * model.num_layers * model.num_heads * model.head_width * sequence_length
    return tokens * (6 * matrices + attention)


def generate_flops(model: Architecture, vocab_size: int, tokens: int, sequence_length: int) -> int:
    """Return the operations of sampling `tokens`, forward only: a third of training's, 2 N and the attention of each.

    As for training, attention is counted in full. GPU-hours at the MFU of training are then a lower bound: sampling
    waits for memory.
    """
    return train_flops(model, vocab_size, tokens, sequence_length) // 3


def gpu_hours(flops: int, hardware: Hardware) -> float:
    return flops / (GPUS[hardware.gpu].flops_per_second * hardware.mfu) / 3600


def memory_bytes_per_gpu(
    model: Architecture, vocab_size: int, sequence_length: int, batch_size: int, hardware: Hardware, training: Training
) -> int:
    """Return an estimate for fully sharded training with a chunked cross entropy.

    Sharded state, two gathered blocks and the gathered embeddings in bf16, saved activations, a chunk of logits. What
    the allocator and the communication add is not in it (allow a tenth).
    """
    size = model_size(model, vocab_size)
    state = size.total * STATE_BYTES / (hardware.num_gpus / training.replicas)
    gathered = (2 * size.largest_block + size.embedding) * COMPUTE_BYTES
    samples = training.micro_batch_size or -(-batch_size // training.data_processes(hardware.num_gpus))
    tokens = samples * sequence_length
    per_layer = SAVED_PER_LAYER if training.activation_checkpointing else SAVED_WITHOUT
    saved = tokens * model.hidden_size * COMPUTE_BYTES * model.num_layers * per_layer
    logits = tokens * vocab_size * 4 * 2 // LOGITS_CHUNK
    return int(state + gathered + saved + logits)


def checkpoint_bytes(model: Architecture, vocab_size: int) -> int:
    """Return the bytes of one checkpoint: weights and optimizer state."""
    return model_size(model, vocab_size).total * CHECKPOINT_BYTES


def model_bytes(model: Architecture, vocab_size: int) -> int:
    """Return the bytes of one exported model."""
    return model_size(model, vocab_size).total * MODEL_BYTES
