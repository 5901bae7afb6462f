"""The token that ends a document: as transformers finds it in a tokenizer's folder."""

from pathlib import Path
from typing import Any

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.store import read_json


def end_of_text(folder: Path) -> str | None:
    """Return the tokenizer's end-of-text token; None where there is none. Raise BadInput.

    It stands in tokenizer_config.json. transformers is asked, which takes seconds to import, only where that names none
    (its class may have one), or where the older special_tokens_map.json says otherwise.
    """
    token = _content((read_json(folder / "tokenizer_config.json") or {}).get("eos_token"))
    older = _content((read_json(folder / "special_tokens_map.json") or {}).get("eos_token"))
    if token is not None and older in (None, token):
        return token
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).eos_token
    except Exception as error:  # each class of tokenizers fails in its own way
        raise BadInput(
            f"the tokenizer names no end-of-document token, and transformers cannot load it: {error}",
            file=str(folder / "tokenizer_config.json"), field="tokenizer", given=f"eos_token: {token}",
            allowed="an eos_token that the vocabulary holds",
        ) from None  # fmt: skip
    return str(found) if found is not None else None


def _content(token: Any) -> str | None:
    """Return a token that is written as a text, or as a mapping with its `content`."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
