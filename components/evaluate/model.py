"""A model behind lm-eval's interface."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.train.inference import load_for_inference


@dataclass(frozen=True)
class LoadedModel:
    model: Any
    documents: DocumentTokenizer
    batch_size: int

    def as_lm(self, max_length: int | None = None, with_control_tokens: Collection[str] = ()) -> Any:
        """Return the model for lm-eval. `max_length`: of a prompt with its answer, in tokens; None: what the model can
        take. `with_control_tokens`: see `DocumentLM`.
        """
        from switchpoint.components.evaluate.document_lm import DocumentLM

        # On a GPU the largest batch that fits is found by trying.
        batch_size = "auto" if self.model.device.type == "cuda" else self.batch_size
        return DocumentLM(self.model, self.documents, with_control_tokens, max_length=max_length, batch_size=batch_size)


def load_model(folder: Path, tokenizer: Path, batch_size: int) -> LoadedModel:
    """Load a model, on this process's GPU if there are any. `tokenizer`: the folder of the study's."""
    return LoadedModel(load_for_inference(folder), DocumentTokenizer(tokenizer), batch_size)
