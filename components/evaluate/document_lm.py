"""lm-eval's model of transformers, on the ids that training documents are made of."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from switchpoint.components.data.document_tokenizer import DocumentTokenizer


class DocumentLM(HFLM):
    """A model for lm-eval whose texts and prompts begin as training documents do.

    lm-eval puts the beginning-of-text token before a text that its tokenizer begins with one already, and scores the
    second: log P(BOS | BOS) would be a part of each document's bits.
    """

    def __init__(
        self, model: PreTrainedModel, documents: DocumentTokenizer, with_control_tokens: Collection[str] = (),
        **options: Any,
    ) -> None:  # fmt: skip
        """`with_control_tokens`: tasks in whose texts control tokens that are written out are such."""
        self.documents = documents
        self._of_task = dict.fromkeys(with_control_tokens, documents.with_control_tokens("token"))
        end = documents.tokenizer.id_to_token(documents.end_of_document)
        # lm-eval asks it for the padding token and for stop sequences; ids come from `documents`.
        wrapped = PreTrainedTokenizerFast(tokenizer_object=documents.tokenizer, eos_token=end, pad_token=end)
        super().__init__(pretrained=model, tokenizer=wrapped, **options)

    @property
    def eot_token_id(self) -> int:
        return self.documents.end_of_document

    @property
    def prefix_token_id(self) -> int:
        return self.documents.before_text[-1]

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, left_truncate_len: int | None = None, **_: Any
    ) -> list[int]:
        plain = add_special_tokens is False
        ids = self.documents.encode(string) if plain else self.documents.encode_document(string)
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def tok_batch_encode(
        self, strings: Sequence[str], padding_side: str = "left", left_truncate_len: int | None = None, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and attention mask, shape (B, L). An empty prompt begins as a text after another one does."""
        rows = [self.documents.encode_document(text) or self.documents.before_text for text in strings]
        rows = [row[-left_truncate_len:] if left_truncate_len else row for row in rows]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.documents.end_of_document)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            place = slice(length - len(row), length) if padding_side == "left" else slice(0, len(row))
            ids[number, place], mask[number, place] = torch.tensor(row), 1
        return ids, mask

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        ids = [tokens] if isinstance(tokens, int) else list(tokens)
        return self.documents.decode(ids, skip_special_tokens=skip_special_tokens)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        pairs = [request.args for request in requests]
        encoded = [(pair, *self.documents.encode_pair(*pair)) for pair in pairs]
        return list(self._loglikelihood_tokens(encoded, disable_tqdm=disable_tqdm))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each text, in windows of lm-eval's; the first one also has what stands before
        a text.
        """
        windows: list[tuple[None, list[int], list[int]]] = []
        counts = []
        given = self.documents.before_text
        for request in requests:
            ids = self._of_task.get(request.task_name, self.documents).encode(request.args[0])
            pieces = map(
                make_disjoint_window,
                get_rolling_token_windows(ids, given[-1], max_seq_len=self.max_length, context_len=1),
            )
            found = [(None, context, predicted) for context, predicted in pieces]
            if found:
                found[0] = (None, [*given[:-1], *found[0][1]], found[0][2])
            windows += found
            counts.append(len(found))
        values = iter(self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm) if windows else [])
        return [sum(next(values)[0] for _ in range(count)) for count in counts]
