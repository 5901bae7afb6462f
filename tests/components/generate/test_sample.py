"""Documents are sampled from a model as its probabilities say: tried on a model that is a table of them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from switchpoint.components.generate.sample import next_tokens, sample_documents

END = 3
TABLE = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1], [0.5, 0.3, 0.2, 0.0]])
"""The probabilities of the next token, by the newest one."""


class Lookup(nn.Module):
    """A model that looks the next token up. Its cache is the number of tokens that it has read."""

    def __init__(self, rows: int = 4) -> None:
        super().__init__()
        logits = torch.full((rows, rows), 50.0)  # rows without a token are the likeliest
        logits[:4, :4] = TABLE.log()
        self.logits = nn.Parameter(logits)
        self.read: list[int] = []

    def forward(self, input_ids: torch.Tensor, past_key_values: Any, use_cache: bool) -> Any:
        assert use_cache
        self.read.append(input_ids.shape[1])
        return SimpleNamespace(logits=self.logits[input_ids], past_key_values=(past_key_values or 0) + 1)


def uniforms(count: int, length: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).random((count, length))


def frequencies(documents: list[list[int]], after: int) -> np.ndarray[Any, Any]:
    """Count what follows a token; END begins each document."""
    pairs = [pair for one in documents for pair in zip([END, *one], one, strict=False) if pair[0] == after]
    return np.bincount([pair[1] for pair in pairs], minlength=4)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_tokens_are_as_frequent_as_they_are_likely(temperature: float) -> None:
    documents = sample_documents(Lookup(), [END], END, 4, temperature, uniforms(20_000, 12))
    for after in range(4):
        weights = TABLE[after].numpy().astype(np.float64) ** (1 / temperature)
        counts, likely = frequencies(documents, after), weights > 0
        expected = weights / weights.sum() * counts.sum()
        assert counts.sum() > 5_000
        assert not counts[~likely].any()
        assert chisquare(counts[likely], expected[likely]).pvalue > 0.001
        # The test can tell: another temperature fails it.
        wrong = TABLE[after].numpy().astype(np.float64)[likely] ** (1 / (1.5 * temperature))
        assert chisquare(counts[likely], wrong / wrong.sum() * counts.sum()).pvalue < 0.001


def test_a_very_low_temperature_takes_the_likeliest_token() -> None:
    (document,) = sample_documents(Lookup(), [END], END, 4, 1e-6, uniforms(1, 9))
    assert document == [0, END]  # 0.5 after the end of another, then 0.4
    assert next_tokens(torch.tensor([[1.0, 1.001, -5.0]]), torch.tensor([0.999], dtype=torch.float64), 1e-6) == 1


def test_the_number_says_which_token() -> None:
    """0.1, 0.2, 0.3, 0.4: the bounds are 0.1, 0.3 and 0.6."""
    numbers = torch.tensor([0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.5999, 0.6001, 1 - 2**-53], dtype=torch.float64)
    ids = next_tokens(TABLE[:1].log().expand(8, 4), numbers, 1.0)
    assert ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_token_without_probability_is_never_taken() -> None:
    numbers = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(3, 3)
    assert next_tokens(logits, numbers, 1.0).tolist() == [1, 1, 1]


def test_rows_of_the_model_beyond_the_tokens_are_never_taken() -> None:
    documents = sample_documents(Lookup(rows=7), [END], END, 4, 1.0, uniforms(50, 12))
    assert max(max(document) for document in documents) < 4


def test_a_document_ends_with_its_end_token_or_at_its_length() -> None:
    documents = sample_documents(Lookup(), [END], END, 4, 1.0, uniforms(400, 6))
    lengths = {len(document) for document in documents}
    assert lengths == {2, 3, 4, 5, 6}  # nothing ends where another one has: its probability is 0
    for document in documents:
        assert END not in document[:-1]
        assert len(document) == 6 or document[-1] == END


def test_a_document_does_not_depend_on_those_beside_it() -> None:
    numbers = uniforms(40, 12)
    together = sample_documents(Lookup(), [END], END, 4, 1.0, numbers)
    assert together == [
        sample_documents(Lookup(), [END], END, 4, 1.0, numbers[n : n + 1])[0] for n in range(len(numbers))
    ]


def test_what_stands_before_a_document_is_read_once_and_not_returned() -> None:
    model = Lookup()
    (document,) = sample_documents(model, [0, 1, END], END, 4, 1e-6, uniforms(1, 9))
    assert document == [0, END]
    assert model.read == [3, 1]
