"""The usual rules of thumb for web text, as datatrove has them."""

from collections.abc import Callable, Sequence
from typing import Any

from switchpoint.components.recipe.errors import BadInput

CLASSES = {
    "gopher_quality": "GopherQualityFilter", "gopher_repetition": "GopherRepetitionFilter",
    "c4_quality": "C4QualityFilter", "fineweb_quality": "FineWebQualityFilter",
}  # fmt: skip
"""The rules of Gopher (arXiv 2112.11446), C4 (1910.10683) and FineWeb (2406.17557), by the name that recipes use."""


def first_objection(names: Sequence[str]) -> Callable[[str], str | None]:
    """Return a function that says which rule a text breaks first, or None. Raise BadInput if datatrove is missing."""
    if not names:
        return lambda _: None
    try:
        from datatrove.data import Document
        from datatrove.pipeline import filters

        rules = [(name, getattr(filters, CLASSES[name])()) for name in names]
    except ImportError as error:
        raise BadInput(
            f"filters need datatrove: {error}", field="sources", given=", ".join(names),
            allowed="pip install switchpoint[data]",
        ) from None  # fmt: skip

    def objection(text: str) -> str | None:
        for name, rule in rules:
            # Some rules change the text that they judge: it is judged, and not changed, here.
            found: Any = rule.filter(Document(text=text, id=""))
            if found is not True:
                return f"{name}: {found[1] if isinstance(found, tuple) else 'refused'}"
        return None

    return objection
