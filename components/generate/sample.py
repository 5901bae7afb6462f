"""Documents sampled from a model, several at a time.

B documents, P tokens that each begins with, L the most tokens of a document, V the vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch

from switchpoint.components.generate.shards import Uniforms


@torch.inference_mode()
def sample_documents(
    model: Any, start: Sequence[int], end: int, num_ids: int, temperature: float, uniforms: Uniforms
) -> list[list[int]]:
    """Return B documents: each up to its end token, which is the last one, or L tokens long without one.

    `start`: the P tokens before a document, which are not returned. `num_ids`: the ids that are tokens; a model may
    have more rows than that. What is sampled of a document depends on its own uniforms only, but for rounding.
    """
    device = next(model.parameters()).device
    num_documents, most = uniforms.shape
    chosen = torch.full((num_documents, most), end, device=device)
    numbers = torch.from_numpy(uniforms).to(device)
    ended = torch.zeros(num_documents, dtype=torch.bool, device=device)
    inputs, cache = torch.tensor([list(start)] * num_documents, device=device), None
    for position in range(most):
        output = model(input_ids=inputs, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        ids = next_tokens(output.logits[:, -1, :num_ids], numbers[:, position], temperature)
        chosen[:, position] = torch.where(ended, end, ids)
        ended |= ids == end
        if ended.all():
            break
        inputs = chosen[:, position, None]
    return [_up_to(document, end) for document in chosen.tolist()]


def next_tokens(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the token at which the cumulated probabilities of softmax(logits / temperature) exceed the uniform number.

    Shapes (B, V), (B,) and (B,). In fp64: the tail of a large vocabulary is lost in fp32, and at a low temperature the
    quotients are large.
    """
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    cumulated = probabilities.cumsum(dim=-1)
    ids = torch.searchsorted(cumulated, (uniforms * cumulated[:, -1])[:, None], right=True)[:, 0]
    # Rounding may put the product at the sum itself.
    return torch.where(ids < logits.shape[-1], ids, probabilities.argmax(dim=-1))


def _up_to(document: list[int], end: int) -> list[int]:
    return document[: document.index(end) + 1] if end in document else document
