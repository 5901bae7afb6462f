"""Probes evaluated by a model that trains, on all its processes. Shapes: B sequences, L length, V vocabulary."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from switchpoint.components.data.samples import NO_TOKEN
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.probe_file import ProbeFile

LOGITS = 2**25
"""The number of logits that are held at a time (128 MB in fp32)."""
SEQUENCES = 32
"""The largest number of sequences in a batch."""
LENGTHS = 128
"""Lengths on a GPU are multiples of this number of tokens."""


@dataclass(frozen=True)
class _Sequence:
    tokens: list[int]
    first_label: int
    """Tokens from here on are predicted; those before are given."""


class Probes:
    """The probes of a job, evaluated on all its processes together."""

    def __init__(self, file: Path, ranks: Ranks, vocab_size: int) -> None:
        self._file = ProbeFile.model_validate_json(file.read_text())
        self._ranks = ranks
        self._sequences = [_Sequence(text.tokens, text.num_given) for text in self._file.texts]
        for question in self._file.questions:
            self._sequences += [_Sequence([*context, *choice], len(context)) for context, choice in question.pairs]
        # Alike in length, so that little is padded; the same batches on every process.
        order = sorted(range(len(self._sequences)), key=lambda number: len(self._sequences[number].tokens))
        self._batches: list[list[int]] = [[]]
        for number in order:
            length = len(self._sequences[number].tokens)
            size = max(1, min(SEQUENCES, LOGITS // (length * vocab_size)))
            if len(self._batches[-1]) >= size:
                self._batches.append([])
            self._batches[-1].append(number)

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return scores by name: bits per byte and next-token accuracy of every source, and the accuracy of every task.

        All processes call it. It draws no random number and changes no weight.
        """
        size, rank = self._ranks.data_size, self._ranks.data_rank
        found = torch.zeros(len(self._sequences), 2, dtype=torch.float64)
        model.eval()
        for first in range(0, len(self._batches), size):
            # Every process has a batch each time: with a sharded model, they work together.
            mine = first + rank
            batch = self._batches[min(mine, len(self._batches) - 1)]
            with torch.compiler.set_stance("force_eager"):  # other shapes must not decide how training is compiled
                values = _log_likelihoods(model, [self._sequences[number] for number in batch], self._ranks.device)
            if mine < len(self._batches):
                found[batch] = values
        model.train()
        return self._scores(self._ranks.sum(found))

    def _scores(self, found: torch.Tensor) -> dict[str, float]:
        """Return scores by name. `found`: log-likelihood and number of tokens that were the likeliest, shape
        (sequences, 2).
        """
        scores: dict[str, float] = {}
        texts = self._file.texts
        for source in dict.fromkeys(text.source for text in texts):
            numbers = [number for number, text in enumerate(texts) if text.source == source]
            log_likelihood, right = found[numbers].sum(0).tolist()
            num_bytes = sum(texts[number].num_bytes for number in numbers)
            num_tokens = sum(len(texts[number].tokens) - texts[number].num_given for number in numbers)
            scores[f"bits_per_byte.{source}"] = -log_likelihood / math.log(2) / num_bytes
            scores[f"next_token_accuracy.{source}"] = right / num_tokens
        right_answers: dict[str, list[bool]] = {}
        at = len(texts)
        for question in self._file.questions:
            likelihoods = found[at : at + len(question.pairs), 0] / torch.tensor(question.lengths, dtype=torch.float64)
            right_answers.setdefault(question.task, []).append(int(likelihoods.argmax()) == question.gold)
            at += len(question.pairs)
        scores |= {task: sum(answers) / len(answers) for task, answers in right_answers.items()}
        return scores


def _log_likelihoods(model: PreTrainedModel, sequences: list[_Sequence], device: torch.device) -> torch.Tensor:
    """Return the summed log-likelihood of the predicted tokens, and how many were the likeliest; fp64, shape (B, 2)."""
    length = max(len(one.tokens) for one in sequences)
    if device.type == "cuda":  # few shapes: blocks are compiled for each
        length = -(-length // LENGTHS) * LENGTHS
    tokens_BL = torch.full((len(sequences), length), NO_TOKEN)
    labels_BL = torch.full_like(tokens_BL, NO_TOKEN)
    for row, one in enumerate(sequences):
        tokens_BL[row, : len(one.tokens)] = torch.tensor(one.tokens)
        labels_BL[row, one.first_label : len(one.tokens)] = torch.tensor(one.tokens[one.first_label :])
    labels_BL = labels_BL[:, 1:].to(device)
    # Padding lies to the right: a causal model never reads it.
    logits_BLV = model(input_ids=tokens_BL[:, :-1].clamp(min=0).to(device), use_cache=False).logits
    losses_BL = F.cross_entropy(
        logits_BLV.flatten(0, 1).float(), labels_BL.flatten(), ignore_index=NO_TOKEN, reduction="none"
    ).view(labels_BL.shape)
    right_BL = (logits_BLV.argmax(-1) == labels_BL) & (labels_BL != NO_TOKEN)
    return torch.stack([-losses_BL.double().sum(1), right_BL.double().sum(1)], dim=1).cpu()
