"""What is held out of a folder, and that its files are read once."""

import os
from pathlib import Path

import pytest

from switchpoint.components.data.corpus import HASH_RANGE, FileDigests, document_hash, heldout_bound, list_files
from switchpoint.components.recipe.errors import BadInput


def test_the_hold_out_is_about_the_fraction_and_never_empty_or_all() -> None:
    many = [(document_hash(f"document {number}"), 100) for number in range(10_000)]
    bound = heldout_bound(many, 0.1)
    assert bound is not None
    share = sum(key < bound for key, _ in many) / len(many)
    assert 0.099 <= share <= 0.1
    assert abs(bound / HASH_RANGE - 0.1) < 0.01
    for fraction in (0.001, 0.5, 0.999):
        bound = heldout_bound(many[:2], fraction)
        assert bound is not None
        assert sum(key < bound for key, _ in many[:2]) == 1
    assert heldout_bound(many[:1] * 2, 0.5) is None
    assert heldout_bound([], 0.5) is None


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
