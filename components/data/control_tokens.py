"""Control tokens: entries of a vocabulary that stand for no text, such as the end of a document.

A text may hold the characters that one is written with. By default they are text like any other: what ends documents
is put there by training, never by what somebody wrote.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

ControlTokens = Literal["text", "token"]
"""What a control token that is written out in a text becomes."""


def control_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of all control tokens: the added tokens that are called special."""
    return sorted(one for one, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def control_table(tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Return for every id whether it is that of a control token."""
    table = np.zeros(max(tokenizer.get_vocab().values(), default=0) + 1, dtype=np.bool_)
    table[control_ids(tokenizer)] = True
    return table


def written_out(tokenizer: Tokenizer) -> list[str]:
    """Return texts that hold each control token, between other characters and alone."""
    contents = [tokenizer.get_added_tokens_decoder()[one].content for one in control_ids(tokenizer)]
    return [text for token in contents for text in (token, f"a{token}b", f"a {token} b")]


def token_not_as_text(tokenizer: Tokenizer) -> str:
    """Return a control token that the tokenizer cannot encode as text, since its model knows it as an entry; empty if
    there is none.
    """
    control = set(control_ids(tokenizer))
    tokenizer.encode_special_tokens = True
    try:
        for text in written_out(tokenizer):
            ids = control.intersection(tokenizer.encode(text, add_special_tokens=False).ids)
            if ids:
                return str(tokenizer.id_to_token(min(ids)))
    finally:
        tokenizer.encode_special_tokens = False
    return ""
