from components.blend.documents import Document
from components.blend.split import heldout_units


def text(unit: str, content: str) -> Document:
    return Document(unit=unit, part="text", text=content)


def test_equal_files_fall_on_one_side() -> None:
    copy = "The same text stands in two files of this folder."
    documents = [text(f"{number}.txt", f"File number {number} with its own words.") for number in range(20)]
    documents += [text("copy-1.txt", copy), text("copy-2.txt", copy)]
    for fraction in (0.1, 0.3, 0.5, 0.7):
        heldout = heldout_units(documents, fraction)
        assert len({"copy-1.txt", "copy-2.txt"} & heldout) in (0, 2)
        assert 0 < len(heldout) < len(documents)


def test_two_files_are_enough() -> None:
    documents = [text("a.txt", "something long enough to matter here"), text("b.txt", "x" * 5000)]
    assert heldout_units(documents, 0.1) == {"a.txt"}
