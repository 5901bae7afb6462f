"""Document masks over token files made elsewhere, whose documents end with no token: their index says where."""

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from switchpoint.components.data.document_index import DocumentIndex
from switchpoint.components.data.streams import pack_stream, write_stream
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.opening import store_at
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.data import Batches, document_positions
from switchpoint.components.train.job import JobSource, TrainJob
from switchpoint.components.train.job_files import fetch_inputs
from switchpoint.components.train.loop import FINISHED, Trainer
from tests.components.train.test_loop import job, losses

END = 0
"""The tokenizer's end-of-document token."""
L = 32


def write_megatron(prefix: Path, sequences: Sequence[Sequence[int]], documents: Sequence[int]) -> None:
    """Write a token file as Megatron does: of 16 bits, `documents` by the number of their first sequence."""
    prefix.with_suffix(".bin").write_bytes(np.concatenate([np.array(one, "<u2") for one in sequences]).tobytes())
    sizes = [len(one) for one in sequences]
    begins = [2 * sum(sizes[:number]) for number in range(len(sizes))]
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(sizes), len(documents))
    index += np.array(sizes, "<i4").tobytes() + np.array(begins, "<i8").tobytes() + np.array(documents, "<i8").tobytes()
    prefix.with_suffix(".idx").write_bytes(index)


def random_documents(seed: int, number: int = 150) -> list[list[int]]:
    """Documents of 1 to 40 tokens: some fill a sample, some samples hold many."""
    random = np.random.default_rng(seed)
    return [random.integers(1, 500, random.integers(1, 41)).tolist() for _ in range(number)]


def users_job(prepared: Planned, folder: Path, documents: list[list[int]], **changes: Any) -> TrainJob:
    """A job whose sources are both one token file of a user's."""
    write_megatron(folder / "theirs", documents, range(len(documents) + 1))
    sources = {}
    one = job(prepared, folder / "run", end_step=1, keep_steps=[1], export_steps=[], document_mask=True, **changes)
    for name in one.sources:
        write_stream(folder / name, [(str(folder / "theirs"), sum(map(len, documents)))])
        if changes.get("packing") == "best_fit":
            pack_stream(folder / name, store_at(one.store), L)
        sources[name] = JobSource(stream=str(folder / name))
    return one.model_copy(update={"sources": sources})


def pieces_of(documents: list[list[int]], sample: list[int]) -> list[list[int]]:
    """The parts of a sample that are of one document each, found in the stream by their tokens."""
    stream = [token for document in documents for token in document]
    starts = set(np.cumsum([0, *map(len, documents)]).tolist())
    (place,) = [at for at in range(len(stream)) if stream[at : at + len(sample)] == sample]
    cuts = [0, *(at - place for at in sorted(starts) if place < at < place + len(sample)), len(sample)]
    return [sample[begin:end] for begin, end in pairwise(cuts)]


def separate_loss(model: Any, pieces: list[list[int]]) -> tuple[float, int]:
    """The summed loss of documents that are trained on alone, and the number of their labels."""
    total, number = 0.0, 0
    for piece in pieces:
        if len(piece) > 1:
            logits = model(input_ids=torch.tensor([piece[:-1]])).logits[0].double()
            total += F.cross_entropy(logits, torch.tensor(piece[1:]), reduction="sum").item()
            number += len(piece) - 1
    return total, number


def test_a_batch_of_a_user_s_tokens_has_the_loss_of_its_documents_alone(prepared: Planned, tmp_path: Path) -> None:
    documents = random_documents(0)
    one = users_job(prepared, tmp_path, documents)
    trainer = Trainer(one, 0, 1)
    batch = trainer.batches.batch(0)
    pieces = [piece for row in batch.tokens.tolist() for piece in pieces_of(documents, row)]
    assert len(pieces) > len(batch.tokens) + 3
    with torch.no_grad():
        total, number = separate_loss(trainer.model, pieces)
    assert int(batch.num_labels.sum()) == number
    assert batch.begins is not None
    positions = document_positions(batch.tokens, END, batch.begins)
    assert positions.flatten().tolist() == [place for piece in pieces for place in range(len(piece))]
    assert trainer.run() == FINISHED
    ((_, loss),) = losses(tmp_path / "run")
    assert loss == pytest.approx(total / number, rel=1e-5)


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_micro_batches_have_their_own_boundaries(prepared: Planned, tmp_path: Path, micro_batch_size: int) -> None:
    found = []
    for name, size in (("whole", None), ("parts", micro_batch_size)):
        (tmp_path / name).mkdir()
        one = users_job(prepared, tmp_path / name, random_documents(0))
        training = one.training.model_copy(update={"micro_batch_size": size})
        assert Trainer(one.model_copy(update={"training": training}), 0, 1).run() == FINISHED
        found += losses(tmp_path / name / "run")
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-6)


def test_packed_documents_of_a_user_are_apart(prepared: Planned, tmp_path: Path) -> None:
    documents = random_documents(1)
    one = users_job(prepared, tmp_path, documents, packing="best_fit")
    trainer = Trainer(one, 0, 1)
    batch = trainer.batches.batch(0)
    known = {tuple(document[:33]) for document in documents} | {tuple(document[33:]) for document in documents}
    assert batch.begins is not None
    with torch.no_grad():
        total, number = 0.0, 0
        for row, begins in zip(batch.tokens.tolist(), batch.begins.tolist(), strict=True):
            filled = [token for token in row if token >= 0]
            cuts = [0, *(at for at, begin in enumerate(begins) if begin), len(filled)]
            pieces = [filled[begin:end] for begin, end in pairwise(cuts)]
            assert all(tuple(piece) in known for piece in pieces)
            loss, count = separate_loss(trainer.model, pieces)
            total, number = total + loss, number + count
    assert int(batch.num_labels.sum()) == number
    assert trainer.run() == FINISHED
    assert losses(tmp_path / "run")[0][1] == pytest.approx(total / number, rel=1e-5)


def test_megatron_s_order_has_the_same_boundaries(prepared: Planned, tmp_path: Path) -> None:
    """Documents are shuffled before they are cut; a source of its own for each, so that their tokens tell them."""
    documents = [[number] * (number % 7 + 1) for number in range(1, 450)]
    one = users_job(prepared, tmp_path, documents, data_order="megatron")
    batch = Batches(fetch_inputs(one, 0), 0, 1).batch(0)
    assert batch.begins is not None
    assert torch.equal(batch.begins[:, 1:], batch.tokens[:, 1:] != batch.tokens[:, :-1])
    assert not batch.begins[:, 0].any()


def test_documents_that_end_with_the_token_stay_as_they_were(prepared: Planned, tmp_path: Path) -> None:
    """The first token of the next one is predicted from it, as in files that we write."""
    documents = [[*document, END] for document in random_documents(2)]
    batch = Batches(fetch_inputs(users_job(prepared, tmp_path, documents), 0), 0, 1).batch(0)
    assert batch.begins is not None
    assert not batch.begins.any()
    assert int(batch.num_labels.sum()) == batch.tokens[:, 1:].numel()
    own = Batches(fetch_inputs(job(prepared, tmp_path / "own", document_mask=True), 0), 0, 1).batch(0)
    assert own.begins is None
    assert not own.has_gaps


SEQUENCES = [[1, 2], [3], [], [4, 5, 6], [7], [8, 9]]


@pytest.mark.parametrize(
    ("documents", "starts"),
    [
        ([0, 1, 2, 3, 4, 5, 6], [0, 2, 3, 3, 6, 7]),
        ([0, 2, 4, 6], [0, 3, 6]),
        ([0, 6], [0]),
        ([0, 4], [0, 6, 7]),  # what is not listed: a document for each sequence
        ([0], [0, 2, 3, 3, 6, 7]),
        ([], [0, 2, 3, 3, 6, 7]),
    ],
)
def test_a_document_may_have_several_sequences(tmp_path: Path, documents: list[int], starts: list[int]) -> None:
    write_megatron(tmp_path / "some", SEQUENCES, documents)
    index = DocumentIndex(str(tmp_path / "some"))
    for start in range(9):
        for stop in range(start, 10):
            assert index.within(start, stop).tolist() == [one for one in starts if start <= one < stop], (start, stop)
    assert index.lengths().tolist() == np.diff([*starts, 9]).tolist()


@pytest.mark.parametrize("documents", [[0, 7], [1, 6]])
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, documents: list[int]) -> None:
    write_megatron(tmp_path / "some", SEQUENCES, documents)
    with pytest.raises(BadInput, match=r"some\.idx: .*documents begin where its sequences do not"):
        DocumentIndex(str(tmp_path / "some"))
