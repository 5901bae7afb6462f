"""The loss: next-token cross entropy, summed, in all and by source. Shapes: B samples, L length, H width, V vocabulary.

The mean is taken later, over the labels of the whole batch on all processes, so that micro-batches and half-empty
samples weigh what they hold.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from switchpoint.components.data.samples import NO_TOKEN

CHUNKED_VOCAB_SIZE = 16_384
"""From this size on the logits of a batch would be the largest tensor in memory, and are never held whole."""
SCALED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Settings of families whose logits are more than a matrix product: they use the plain loss."""


def install_loss(model: PreTrainedModel, tensor_parallel: bool = False) -> None:
    """Make the model's forward pass return losses: (sum, sum by source), see `summed_losses`.

    The head is then applied inside it, where FSDP has gathered its weight.
    """
    plain_forward = model.forward
    config = model.config
    head = model.get_output_embeddings()
    is_plain = not any(getattr(config, name, None) for name in SCALED_LOGITS) and type(head) is nn.Linear
    chunked = is_plain and head.bias is None and config.vocab_size >= CHUNKED_VOCAB_SIZE and not tensor_parallel

    def forward(
        input_ids: torch.Tensor, labels_BL: torch.Tensor | None = None, sources: Sequence[int] = (), **options: Any
    ) -> Any:
        if labels_BL is None:
            return plain_forward(input_ids=input_ids, **options)
        if not chunked:
            logits_BLV = plain_forward(input_ids=input_ids, use_cache=False, **options).logits
            return _plain_losses(logits_BLV, labels_BL, sources)
        hidden_BLH = model.base_model(input_ids=input_ids, use_cache=False, **options).last_hidden_state
        return _ChunkedLosses.apply(hidden_BLH, head.weight, labels_BL, tuple(sources))

    model.forward = forward


def summed_losses(
    model: PreTrainedModel, tokens_BL1: torch.Tensor, sources: Sequence[int], positions_BL: torch.Tensor | None,
    begins_BL1: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the summed loss of the samples, and the sum of each source (no gradient; shape: highest source + 1).

    `tokens_BL1`: L + 1 tokens of each sample, NO_TOKEN where there is none. `sources`: a number for each sample.
    `begins_BL1`: the first tokens of documents, which nothing before them predicts.
    """
    inputs_BL, labels_BL = tokens_BL1[:, :-1].clamp(min=0), tokens_BL1[:, 1:]
    if begins_BL1 is not None:
        labels_BL = labels_BL.masked_fill(begins_BL1[:, 1:], NO_TOKEN)
    options = {} if positions_BL is None else {"position_ids": positions_BL}
    losses: tuple[torch.Tensor, torch.Tensor] = model(
        input_ids=inputs_BL, labels_BL=labels_BL, sources=sources, **options
    )
    return losses


def _plain_losses(
    logits_BLV: torch.Tensor, labels_BL: torch.Tensor, sources: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    losses_N = F.cross_entropy(
        logits_BLV.flatten(0, 1).float(), labels_BL.flatten(), ignore_index=NO_TOKEN, reduction="none"
    )
    losses_B = losses_N.view(labels_BL.shape).sum(1)
    return losses_B.sum(), _by_source(losses_B.detach(), sources)


def _by_source(losses_B: torch.Tensor, sources: Sequence[int]) -> torch.Tensor:
    numbers_B = torch.tensor(sources, device=losses_B.device)
    return losses_B.new_zeros(int(max(sources)) + 1).index_add_(0, numbers_B, losses_B)


class _ChunkedLosses(torch.autograd.Function):
    """torch's chunked linear cross entropy, one source after another, with one gradient of the head for all.

    The chunked operation has its gradients already when its forward pass ends; calling it once per source through
    autograd would keep a gradient as large as the head for each of them.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_BLH: torch.Tensor, weight_VH: torch.Tensor, labels_BL: torch.Tensor, sources: tuple[int, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        options = nn.LinearCrossEntropyOptions(
            batch_chunk_size=_chunk_rows(hidden_BLH, weight_VH), chunking_method=None
        )
        weight = weight_VH.detach().requires_grad_()
        grad_hidden_BLH = torch.empty_like(hidden_BLH)
        numbers_B = torch.tensor(sources, device=hidden_BLH.device)
        sums = hidden_BLH.new_zeros(max(sources) + 1, dtype=torch.float32)
        with torch.enable_grad():
            for source in sorted(set(sources)):
                rows = (numbers_B == source).nonzero()[:, 0]
                hidden_NH = hidden_BLH.detach()[rows].flatten(0, 1).requires_grad_()
                loss = F.linear_cross_entropy(
                    hidden_NH,
                    weight,
                    labels_BL[rows].flatten(),
                    ignore_index=NO_TOKEN,
                    reduction="sum",
                    options=options,
                )
                loss.backward()
                sums[source] = loss.detach()
                grad_hidden_BLH[rows] = hidden_NH.grad.view(len(rows), *hidden_BLH.shape[1:])  # type: ignore[union-attr]
        ctx.save_for_backward(grad_hidden_BLH, weight.grad)
        ctx.mark_non_differentiable(sums)
        return sums.sum(), sums

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        grad_hidden_BLH, grad_weight_VH = ctx.saved_tensors
        return grad_hidden_BLH.mul_(grads[0]), grad_weight_VH.mul_(grads[0]), None, None


def _chunk_rows(hidden_BLH: torch.Tensor, weight_VH: torch.Tensor) -> int:
    """Return how many rows have logits as large as the hidden states: torch's own rule, on the whole micro-batch."""
    rows = hidden_BLH.shape[0] * hidden_BLH.shape[1]
    return max(64, rows // max(1, weight_VH.shape[0] // weight_VH.shape[1]))
