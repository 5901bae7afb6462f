"""The step `tokenizer`: a byte-level BPE tokenizer of our own, or the user's."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from switchpoint.components.data.corpus import Corpus
from switchpoint.components.data.corpus_input import training_texts
from switchpoint.components.data.documents import read_documents
from switchpoint.components.data.end_of_text import end_of_text
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of, part_of
from switchpoint.components.store.store import Store

END_OF_DOCUMENT = "<|endoftext|>"


def train_tokenizer(plan: Plan, store: Store, corpora: Mapping[str, Corpus]) -> None:
    """Train the tokenizer on the sources' training text, or copy the user's, unless the store has it."""
    if store.is_done(plan.tokenizer):
        return
    folder = plan.recipe.tokenizer.folder
    with store.output(plan.tokenizer) as output:
        if folder:
            for path in Path(folder).iterdir():
                if path.suffix in {".json", ".txt", ".jinja"} and path.name != "record.json":
                    shutil.copy(path, output)
        else:
            tokenizer = byte_level_bpe(_training_text(plan, store, corpora), plan.recipe.tokenizer.vocab_size or 0)
            tokenizer.save(str(output / "tokenizer.json"))
            (output / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_DOCUMENT}, indent=1)
            )
        tokenizer, end_of_document = load_tokenizer(output)
        store.write_record(
            plan.tokenizer, output,
            {"vocab_size": num_ids(tokenizer), "end_of_document": end_of_document},
        )  # fmt: skip


def byte_level_bpe(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_DOCUMENT], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """Return the tokenizer in `folder` and the id of its end-of-document token. Raise BadInput."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises plain Exception
        raise BadInput(f"not a tokenizer: {error}", file=str(folder / "tokenizer.json"), field="tokenizer") from None
    # Folders of models often say how inputs are cut and filled: documents are neither.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    token = end_of_text(folder)
    identifier = tokenizer.token_to_id(token) if token else None
    if identifier is None:
        raise BadInput(
            "the tokenizer names no end-of-document token", file=str(folder / "tokenizer_config.json"),
            field="tokenizer", given=f"eos_token: {token}", allowed="an eos_token that the vocabulary holds",
        )  # fmt: skip
    return tokenizer, identifier


def num_ids(tokenizer: Tokenizer) -> int:
    """Return how many ids a model needs: some vocabularies have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def _training_text(plan: Plan, store: Store, corpora: Mapping[str, Corpus]) -> Iterator[str]:
    for name, source in plan.sources_with_text().items():
        if source.token_file or source.mine:
            continue
        if origin_of(source) in corpora:
            yield from training_texts(corpora[origin_of(source)], name, source)
            continue
        path = store.fetch_output(plan.texts[origin_of(source)]) / "train" / f"{part_of(source)}.jsonl"
        for document in read_documents(path):
            yield document.text
