"""Best-fit packing: every token once, documents whole where they fit, the same read back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchpoint.components.data.packing import best_fit
from switchpoint.components.data.samples import NO_TOKEN, ConcatenatedSamples, PackedSamples
from switchpoint.components.data.streams import num_packed, pack_stream, write_stream
from switchpoint.components.store.store import Store
from tests.components.data.token_files import write_token_file


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=80), capacity=st.integers(1, 25))
def test_every_token_is_in_one_sample_and_what_fits_is_whole(lengths: list[int], capacity: int) -> None:
    packed = best_fit(np.array(lengths, dtype=np.int32), capacity)
    covered = np.zeros(sum(lengths), dtype=int)
    for start, length in packed.segments.tolist():
        covered[start : start + length] += 1
    assert (covered == 1).all()
    sizes = np.add.reduceat(packed.segments["length"], np.concatenate([[0], packed.ends[:-1]])) if sum(lengths) else []
    assert all(0 < size <= capacity for size in sizes)
    begins = np.cumsum([0, *lengths[:-1]])
    pieces = dict(packed.segments.tolist())
    for begin, length in zip(begins.tolist(), lengths, strict=True):
        if 0 < length <= capacity:
            assert pieces[begin] == length
    assert packed.num_cut == sum(length > capacity for length in lengths)
    # No two samples that would fit into one: first fit decreasing, and so best fit, never leaves them.
    assert sum(2 * size <= capacity for size in sizes) <= 1


def test_it_wastes_little_on_documents_as_they_are() -> None:
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(6, 1.2, 20_000)).astype(np.int32) + 2
    packed = best_fit(lengths, 2049)
    assert len(packed.ends) * 2049 / lengths.sum() < 1.001


def test_the_best_fit_is_taken() -> None:
    """8 and 7 open a sample each of 10; 2 goes to the one with exactly that room, 3 to the other."""
    packed = best_fit(np.array([2, 8, 3, 7]), 10)
    assert packed.ends.tolist() == [2, 4]
    assert packed.segments["length"].tolist() == [2, 8, 3, 7]
    packed = best_fit(np.array([6, 8, 2]), 10)  # 2 fits beside both
    assert packed.ends.tolist() == [2, 3]
    assert packed.segments["length"].tolist() == [8, 2, 6]


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """Three files of 100, 7 and 50 tokens: documents of several lengths, tokens counted through."""
    token = 0
    entries = []
    for number, lengths in enumerate(([30, 40, 5, 25], [7], [20, 10, 20])):
        documents = []
        for length in lengths:
            documents.append(list(range(token, token + length)))
            token += length
        write_token_file(tmp_path / f"file-{number}", documents, 4096)
        entries.append((f"file-{number}", sum(lengths)))
    write_stream(tmp_path / "all", entries)
    return tmp_path / "all"


def test_samples_of_the_stream_go_across_its_files(stream: Path) -> None:
    samples = ConcatenatedSamples(stream, Store(stream.parent), 12)
    assert samples.num_samples == 13
    for number in range(13):
        out = np.empty(13, dtype=np.int64)
        samples.read(number, out)
        assert out.tolist() == list(range(12 * number, 12 * number + 13))


def test_packed_samples_hold_whole_documents_of_one_file(stream: Path) -> None:
    assert num_packed(stream, 29) is None
    pack_stream(stream, Store(stream.parent), 29)
    samples = PackedSamples(stream, Store(stream.parent), 29)
    assert samples.num_samples == num_packed(stream, 29) == 7
    found = []
    for number in range(samples.num_samples):
        out = np.empty(30, dtype=np.int64)
        samples.read(number, out)
        tokens = out[out != NO_TOKEN].tolist()
        assert out[: len(tokens)].tolist() == tokens
        found += tokens
    assert sorted(found) == list(range(157))
