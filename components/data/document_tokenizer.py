"""Texts to the ids that training documents are made of, for everything that reads a model after training."""

from copy import copy
from pathlib import Path

from tokenizers import Encoding

from switchpoint.components.data.control_tokens import ControlTokens
from switchpoint.components.data.encoder import leading_ids
from switchpoint.components.data.tokenizer import load_tokenizer


class DocumentTokenizer:
    """A tokenizer that begins a text as training documents begin, and adds nothing else to it.

    Tokenizer classes of other libraries add tokens by rules of their own (a second beginning-of-text token, an
    end-of-text token after a prompt): evaluation would condition on what no model was trained on.
    """

    def __init__(self, folder: Path, control_tokens: ControlTokens = "text") -> None:
        """`control_tokens`: what one becomes that is written out in a text. Raise BadInput if `folder` holds no
        tokenizer.
        """
        self.tokenizer, self.end_of_document = load_tokenizer(folder)
        self.leading = leading_ids(self.tokenizer)
        self.control_tokens = control_tokens

    def with_control_tokens(self, control_tokens: ControlTokens) -> "DocumentTokenizer":
        """Return the same tokenizer with another rule for control tokens that are written out in a text."""
        other = copy(self)
        other.control_tokens = control_tokens
        return other

    @property
    def before_text(self) -> list[int]:
        """The ids that the first id of a text is predicted from: those that begin a document; where nothing does, the
        end of the document before it.
        """
        return self.leading or [self.end_of_document]

    def encoding(self, text: str) -> Encoding:
        """Return the ids of a text, with the characters that they stand for."""
        self.tokenizer.encode_special_tokens = self.control_tokens == "text"
        return self.tokenizer.encode(text, add_special_tokens=False)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text alone."""
        return list(self.encoding(text).ids)

    def encode_document(self, text: str) -> list[int]:
        """Return the ids of a document that has not ended yet."""
        return [*self.leading, *self.encode(text)]

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return what is given and what is predicted, split as lm-eval splits them: blanks at the end of the context
        belong to the continuation. Nothing but `before_text` is given where the context is empty.
        """
        stripped = context.rstrip()
        before = self.encode(stripped)
        after = self.encode(context + continuation)[len(before) :]
        return [*self.leading, *before] if before else self.before_text, after

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))
