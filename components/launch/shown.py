"""What a task shows in the pipeline's UI: a Markdown file."""

from collections.abc import Iterable
from pathlib import Path

NOTHING_LEFT = "Nothing is left to train here.\n"


def write_shown(file: Path, texts: Iterable[str]) -> None:
    """Write what a task shows, in the order given. Imports no torch: a task with nothing to do returns at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(texts), encoding="utf-8")
