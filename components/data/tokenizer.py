"""The step `tokenizer`: a byte-level BPE tokenizer of our own, or the user's."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from switchpoint.components.data.control_tokens import token_not_as_text
from switchpoint.components.data.corpus import Corpus
from switchpoint.components.data.corpus_input import training_texts
from switchpoint.components.data.documents import read_documents
from switchpoint.components.data.end_of_text import end_of_text
from switchpoint.components.data.tokenizer_files import copy_tokenizer
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import GENERATED_ORIGINS, origin_of, part_of
from switchpoint.components.store.store import Store

END_OF_DOCUMENT = "<|endoftext|>"


def train_tokenizer(plan: Plan, store: Store, corpora: Mapping[str, Corpus]) -> None:
    """Train the tokenizer on the sources' training text, or copy the user's, unless the store has it. Raise BadInput
    where a model of the plan would be loaded with another one.
    """
    # They read tokenizers through this module.
    from switchpoint.components.data.tokenizer_class import check_class, settle_class

    if not store.is_done(plan.tokenizer):
        with store.output(plan.tokenizer) as output:
            if plan.recipe.tokenizer.folder:
                copy_tokenizer(Path(plan.recipe.tokenizer.folder), output)
            else:
                tokenizer = byte_level_bpe(_training_text(plan, store, corpora), plan.recipe.tokenizer.vocab_size or 0)
                tokenizer.save(str(output / "tokenizer.json"))
                (output / "tokenizer_config.json").write_text(
                    json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_DOCUMENT}, indent=1)
                )
            tokenizer, end_of_document = load_tokenizer(output)
            store.write_record(
                plan.tokenizer, output, {"vocab_size": num_ids(tokenizer), "end_of_document": end_of_document},
                {"other_ids": settle_class(output)},
            )  # fmt: skip
    _check_control_tokens(plan, store)
    check_class(plan, store)


def _check_control_tokens(plan: Plan, store: Store) -> None:
    """Raise BadInput where a source's control tokens are to be text, and the tokenizer cannot encode them as such."""
    tokenizer, _ = load_tokenizer(store.fetch_output(plan.tokenizer))
    token = token_not_as_text(tokenizer)
    for name, source in plan.sources_with_text().items():
        if token and source.control_tokens == "text" and origin_of(source) not in GENERATED_ORIGINS:
            raise BadInput(
                "the tokenizer cannot encode a control token as text that is written out in one: it is an entry of "
                "its model", file=plan.recipe.tokenizer.folder or "", field=f"sources.{name}.control_tokens",
                given=f"text (and the control token {token})",
                allowed="`control_tokens: token`, which takes it for the control token; or another tokenizer",
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
    added = tokenizer.get_added_tokens_decoder().get(identifier)
    return _with_control_token(tokenizer, identifier) if added and not added.special else tokenizer, identifier


def _with_control_token(tokenizer: Tokenizer, identifier: int) -> Tokenizer:
    """Return the tokenizer with an added token as a control token: some files do not call what ends a text special."""
    data = json.loads(tokenizer.to_str())
    for token in data["added_tokens"]:
        token["special"] |= token["id"] == identifier
    return Tokenizer.from_str(json.dumps(data))


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
