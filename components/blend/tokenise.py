"""The step `tokens`: a source's training documents as one token file."""

from collections.abc import Iterable, Iterator
from itertools import islice

from tokenizers import Tokenizer

from components.blend.documents import read_documents
from components.blend.token_file import write_token_file
from components.blend.tokenizer import load_tokenizer
from components.recipe.plan import Plan, origin_of
from components.store.store import Store

BATCH_DOCUMENTS = 256


def tokenise(plan: Plan, store: Store, source_name: str) -> None:
    """Writes `train.bin` and `train.idx` of the source, unless the store has them."""
    identity = plan.tokens[source_name]
    if store.is_done(identity):
        return
    source = plan.recipe.sources[source_name]
    path = store.path(plan.texts[origin_of(source)]) / "train" / f"{source.python or 'text'}.jsonl"
    tokenizer, end_of_document = load_tokenizer(store.path(plan.tokenizer))
    texts = (document.text for document in read_documents(path))
    with store.output(identity) as folder:
        num_tokens, num_documents = write_token_file(
            folder / "train", _encode(tokenizer, texts, end_of_document), tokenizer.get_vocab_size()
        )
        store.write_record(identity, folder, {"tokens": num_tokens, "documents": num_documents})


def _encode(tokenizer: Tokenizer, texts: Iterable[str], end_of_document: int) -> Iterator[list[int]]:
    """Each document's ids, closed by the end-of-document token."""
    texts = iter(texts)
    while batch := list(islice(texts, BATCH_DOCUMENTS)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield [*encoding.ids, end_of_document]
