"""The step `tokens`: a source's training documents as one token file."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice

from tokenizers import Tokenizer

from components.blend.documents import read_documents
from components.blend.token_file import write_token_file
from components.blend.tokenizer import load_tokenizer
from components.recipe.errors import BadInput
from components.recipe.expand import origin_of, part_of
from components.recipe.plan import Plan
from components.recipe.source import SourceKey, split_key
from components.store.store import Store

BATCH_DOCUMENTS = 256


def tokenise(plan: Plan, store: Store, key: SourceKey) -> None:
    """Writes `train.bin` and `train.idx` of what `key` names, a source or one of its tiers, unless they are there."""
    identity = plan.tokens[key]
    if store.is_done(identity):
        return
    name, tier = split_key(key)
    source = plan.recipe.sources[name]
    path = store.path(plan.texts[origin_of(source)]) / "train" / f"{part_of(source)}.jsonl"
    tokenizer, end_of_document = load_tokenizer(store.path(plan.tokenizer))
    pattern = source.tiers[tier].documents if tier else "*"
    texts = (document.text for document in read_documents(path) if fnmatchcase(document.unit, pattern))
    with store.output(identity) as folder:
        num_tokens, num_documents = write_token_file(
            folder / "train", _encode(tokenizer, texts, end_of_document), tokenizer.get_vocab_size()
        )
        if not num_documents:
            raise BadInput(
                "the tier's pattern fits no training document", field=f"sources.{name}.tiers.{tier}.documents",
                given=pattern, allowed="a pattern over the documents' names, as `long/*`",
            )  # fmt: skip
        store.write_record(identity, folder, {"tokens": num_tokens, "documents": num_documents})


def _encode(tokenizer: Tokenizer, texts: Iterable[str], end_of_document: int) -> Iterator[list[int]]:
    """Each document's ids, closed by the end-of-document token."""
    texts = iter(texts)
    while batch := list(islice(texts, BATCH_DOCUMENTS)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield [*encoding.ids, end_of_document]
