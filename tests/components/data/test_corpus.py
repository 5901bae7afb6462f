"""What is held out of a folder, and that its files are read once."""

import json
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchpoint.components.data.corpus import (
    HASH_RANGE,
    Corpus,
    FileDigests,
    document_hash,
    heldout_bound,
    list_files,
)
from switchpoint.components.data.corpus_input import read_corpus
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import Source


def test_the_hold_out_is_about_the_fraction_and_never_empty_or_all() -> None:
    many = [(document_hash(f"document {number}"), 100) for number in range(10_000)]
    bound = heldout_bound(many, 0.1)
    assert bound is not None
    share = sum(key < bound.below for key, _ in many) / len(many)
    assert 0.099 <= share <= 0.1
    assert abs(bound.below / HASH_RANGE - 0.1) < 0.01
    for fraction in (0.001, 0.5, 0.999):
        bound = heldout_bound(many[:2], fraction)
        assert bound is not None
        assert sum(key < bound.below for key, _ in many[:2]) == 1
    assert heldout_bound(many[:1] * 2, 0.5) is None
    assert heldout_bound([], 0.5) is None


def heldout(documents: list[tuple[int, int]], fraction: float) -> list[tuple[int, int]]:
    bound = heldout_bound(documents, fraction)
    assert bound is not None
    corpus = Corpus(folder="", files=(), heldout_below=bound.below, heldout_max_bytes=bound.max_bytes)
    return sorted((key, size) for key, size in documents if corpus.holds_out(key, size))


def test_one_long_document_moves_no_other_one_out_of_training() -> None:
    """40 documents of 1 kB and one of 1 MB: a tenth of the 41 are held out, 4 of the short ones with the least hashes,
    wherever the long one stands among the hashes.
    """
    for long in (0, 200, 1000):
        documents = [(long, 1_000_000), *((key * 10 + 5, 1000) for key in range(40))]
        assert heldout(documents, 0.1) == [(5, 1000), (15, 1000), (25, 1000), (35, 1000)]
    assert heldout([(1, 9000), (2, 10)], 0.1) == [(2, 10)]


@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=2, max_size=60),
    fraction=st.floats(0.01, 0.89),
    seed=st.randoms(use_true_random=False),
)
def test_the_held_out_share_is_bounded_in_any_order(sizes: list[int], fraction: float, seed: Random) -> None:
    documents = [(document_hash(str(number)), size) for number, size in enumerate(sizes)]
    found = heldout(documents, fraction)
    assert 1 <= len(found) <= max(1, fraction * len(sizes))
    taken = sum(size for _, size in found)
    assert taken <= max(fraction * sum(sizes), sum(sizes) / len(sizes))
    seed.shuffle(documents)
    assert heldout(documents, fraction) == found


def test_a_long_document_of_a_large_folder_stays_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchpoint.components.data.corpus_input.SAMPLE_BYTES", 20_000)
    texts = [f"text {number:03d} " + "x" * 91 for number in range(300)]
    long = next(text for text in (f"{n} " + "y" * 9_000 for n in range(100)) if document_hash(text) < HASH_RANGE // 10)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, long]))
    read = read_corpus("web", Source(folder=str(tmp_path)), 0.1, FileDigests())
    assert read.corpus.heldout_below == int(0.1 * HASH_RANGE)
    assert read.corpus.heldout_max_bytes == 2_000  # a tenth of the 200 documents of 100 bytes that are read
    assert not read.corpus.holds_out(document_hash(long), len(long))
    assert Corpus.of_data(read.corpus.as_data()) == read.corpus


def test_a_file_is_hashed_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import switchpoint.components.data.corpus as corpus

    (tmp_path / "a.txt").write_text("one")
    digests = FileDigests()

    def digest() -> str:
        ((name, _, version),) = list_files(str(tmp_path), "sources.a")
        return digests.of(str(tmp_path), name, version)

    first = digest()
    monkeypatch.setattr(corpus, "open_file", lambda *_: pytest.fail("read again"))
    assert digest() == first
    monkeypatch.undo()
    (tmp_path / "a.txt").write_text("two")
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    assert digest() != first


@pytest.mark.parametrize("folder", ["s3", "nosuch://bucket/folder", "memory://empty"])
def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(BadInput, match=r"sources\.a\.folder"):
        list_files(folder if "://" in folder else str(tmp_path / folder), "sources.a.folder")
