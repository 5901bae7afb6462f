"""Shards of generated text: exact budgets, documents that are the same in whatever batch."""

from typing import Any

import numpy as np
import pytest

from switchpoint.components.generate.shards import GenerateJob, Uniforms, as_data, shard_documents

END = 9


def job(**changes: Any) -> GenerateJob:
    given = {
        "store": "", "model": "", "tokenizer": "", "folder": "jobs/x", "tokens": 5_000, "temperature": 1.0, "seed": 0,
        "sequence_length": 32,
    }  # fmt: skip
    return GenerateJob.model_validate(given | changes)


def lengths_of(uniforms: Uniforms) -> list[list[int]]:
    """Documents whose tokens and lengths follow from their numbers: shorter than the longest, with an end."""
    found = []
    for row in uniforms:
        tokens = (row * 9).astype(int).tolist()
        length = 1 + int(row[0] * len(row))
        found.append([*tokens[: length - 1], END] if length < len(row) else tokens)
    return found


@pytest.mark.parametrize(
    ("tokens", "shards"), [(5_000, [2048, 2048, 904]), (4_096, [2048, 2048]), (2_049, [2048, 1]), (1, [1])]
)
def test_shards_hold_the_tokens_of_64_of_the_longest_documents(tokens: int, shards: list[int]) -> None:
    assert job(tokens=tokens).shard_tokens() == shards
    assert job(tokens=tokens).files()[-1] == f"jobs/x/shard-{len(shards) - 1:06d}.json"


@pytest.mark.parametrize("num_tokens", [1, 31, 32, 33, 1_000, 2_048])
def test_a_shard_has_its_tokens_and_only_the_last_document_is_cut_off(num_tokens: int) -> None:
    documents = shard_documents(lengths_of, num_tokens, 32, 64, (0, 0))
    assert sum(map(len, documents)) == num_tokens
    assert all(len(document) == 32 or document[-1] == END for document in documents[:-1])


def test_documents_are_the_same_in_whatever_batch() -> None:
    assert shard_documents(lengths_of, 2_048, 32, 64, (5, 1)) == shard_documents(lengths_of, 2_048, 32, 3, (5, 1))


def test_every_seed_shard_and_document_has_numbers_of_its_own() -> None:
    seen = [shard_documents(lengths_of, 500, 32, 64, key) for key in ((0, 0), (0, 1), (1, 0))]
    firsts = [tuple(document) for documents in seen for document in documents[:-1] if len(document) > 8]
    assert len(set(firsts)) == len(firsts) > 20


def test_documents_are_not_sampled_that_are_not_needed() -> None:
    asked: list[int] = []

    def whole(uniforms: Uniforms) -> list[list[int]]:
        asked.append(len(uniforms))
        return [[1] * 32 for _ in uniforms]

    shard_documents(whole, 2_048, 32, 64, (0, 0))
    shard_documents(whole, 100, 32, 64, (0, 0))
    assert asked == [64, 4]
    asked.clear()

    def short(uniforms: Uniforms) -> list[list[int]]:
        asked.append(len(uniforms))
        return [[1] * 7 + [END] for _ in uniforms]

    shard_documents(short, 2_048, 32, 64, (0, 0))
    assert asked == [64, 64, 64, 64]
    assert np.sum(asked) * 8 == 2_048


def test_a_file_has_texts_without_the_end_and_says_what_was_sampled() -> None:
    data = as_data([[1, 2, END], [END], [3, 4]], END, lambda ids: " ".join(map(str, ids)))
    assert data == {"texts": ["1 2", "", "3 4"], "tokens": 6, "ended": 2}
