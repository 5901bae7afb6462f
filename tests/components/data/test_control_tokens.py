"""Control tokens that somebody wrote into a text: text by default, counted, the same in both engines."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from switchpoint.components.data.control_tokens import token_not_as_text
from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.encoder import FastEncoder, ReferenceEncoder, open_encoder
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, load_tokenizer, train_tokenizer
from switchpoint.components.plan.data import left_out
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import absolute_folders
from tests.components.data.test_tokenise import planned
from tests.tokenizer_folders import TEXTS, write_tokenizer

WRITTEN = [
    f"One{END_OF_DOCUMENT}Two {END_OF_DOCUMENT} and <s>three</s>", END_OF_DOCUMENT, f"{END_OF_DOCUMENT}\n", "<s>",
    "No control token: <|endoftext|, <|endof text|>, < s>",
]  # fmt: skip
NUMBERS = [4, 1, 1, 1, 0]
"""How many control tokens are written out in each: `<s>` and `</s>` are some of the tokenizers below, too."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "own", before=["<s>"], after=["</s>"])
    return tmp_path / "own"


def without_added_tokens(folder: Path) -> Tokenizer:
    """The same tokenizer without control tokens: whatever it is given is text."""
    data = json.loads((folder / "tokenizer.json").read_text())
    return Tokenizer.from_str(json.dumps(data | {"added_tokens": [], "post_processor": None}))


def split(ids: Any, ends: Any) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, ends[:-1])]


@pytest.mark.parametrize("engine", [FastEncoder, ReferenceEncoder])
def test_what_is_written_out_is_text_unless_it_is_asked_for(folder: Path, engine: Any) -> None:
    texts = [*TEXTS[:5], *WRITTEN, *TEXTS[5:10]]
    numbers = [0] * 5 + NUMBERS + [0] * 5
    plain, whole = without_added_tokens(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    as_text = engine(folder).encode(texts)
    assert split(as_text.ids, as_text.ends) == [plain.encode(text).ids for text in texts]
    assert as_text.num_control.tolist() == numbers
    as_tokens = engine(folder, "token").encode(texts)
    wanted = [whole.encode(text, add_special_tokens=False).ids for text in texts]
    assert split(as_tokens.ids, as_tokens.ends) == wanted
    assert as_tokens.num_control.tolist() == numbers
    assert isinstance(open_encoder(folder), FastEncoder)


def test_what_reads_a_model_follows_the_same_rule(folder: Path) -> None:
    documents, plain = DocumentTokenizer(folder), without_added_tokens(folder)
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    begin = whole.token_to_id("<s>")
    for text in WRITTEN:
        assert documents.encode(text) == plain.encode(text).ids
        assert documents.encode_document(text) == [begin, *plain.encode(text).ids]
        with_tokens = documents.with_control_tokens("token")
        assert with_tokens.encode(text) == whole.encode(text, add_special_tokens=False).ids
        assert documents.encode(text) == plain.encode(text).ids  # as before


def test_an_end_token_that_its_file_does_not_call_special_is_one(folder: Path) -> None:
    data = json.loads((folder / "tokenizer.json").read_text())
    for token in data["added_tokens"]:
        token["special"] = token["content"] != END_OF_DOCUMENT
    (folder / "tokenizer.json").write_text(json.dumps(data))
    plain = without_added_tokens(folder)
    encoder = open_encoder(folder)
    assert isinstance(encoder, ReferenceEncoder)  # the other engine reads the file as it is
    found = encoder.encode(WRITTEN)
    assert split(found.ids, found.ends) == [plain.encode(text).ids for text in WRITTEN]
    assert found.num_control.tolist() == NUMBERS


def with_literals(study: dict[str, Any], root: Path, **fields: Any) -> dict[str, Any]:
    """The study with a source in whose documents control tokens are written out."""
    absolute_folders(study, root)
    rows = [f"{text} {END_OF_DOCUMENT}" if number % 2 else text for number, text in enumerate(TEXTS)]
    (root / "lines").mkdir()
    (root / "lines" / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    study["sources"]["prose"] = {"folder": str(root / "lines")} | fields
    study["heldout_fraction"] = 0.3
    study["model"]["pretrain"]["tokens"] = study["horizon_tokens"] = 1_280
    return study


@pytest.mark.parametrize("rule", ["text", "token"])
def test_a_source_counts_them_and_says_what_they_became(study: dict[str, Any], tmp_path: Path, rule: str) -> None:
    fields = {} if rule == "text" else {"control_tokens": rule}
    done = planned(with_literals(study, tmp_path, **fields), tmp_path / "store").run()
    record, end = done.record("prose"), load_tokenizer(done.store.local_folder(done.plan.tokenizer))[1]
    heldout = done.heldout("prose")
    written = 20 - sum(END_OF_DOCUMENT in text for text in heldout)
    assert 0 < written < 20
    assert record["control_tokens"] == {"become": rule, "number": written, "documents": written}
    assert done.tokens("prose").count(end) == record["documents"] + (0 if rule == "text" else written)
    what = "text" if rule == "text" else "control tokens"
    assert left_out(done.plan, done.store) == [
        f"control tokens written out in the text of prose: {written} in {written} documents, encoded as {what}"
    ]
    card = done.store.local_folder(done.plan.tokens["prose"]) / "card"
    assert json.loads(card.with_suffix(".json").read_text())["control_tokens"] == record["control_tokens"]
    said = f"encoded as {'text' if rule == 'text' else 'such'}</td><td>{written} in {written} documents"
    assert said in card.with_suffix(".html").read_text()


def test_a_tokenizer_whose_model_knows_its_control_tokens_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    """Unigram: they are entries that it may choose. `token` accepts it."""
    tokenizer = unigram(TEXTS)
    assert token_not_as_text(tokenizer) == END_OF_DOCUMENT
    write_tokenizer(tmp_path / "own", tokenizer=tokenizer, tokenizer_class="PreTrainedTokenizerFast")
    study = with_literals(study, tmp_path) | {"tokenizer": {"folder": str(tmp_path / "own")}}
    begun = planned(study, tmp_path / "store")
    with pytest.raises(BadInput, match=r"sources\.prose\.control_tokens: the tokenizer cannot encode"):
        train_tokenizer(begun.plan, begun.store, begun.corpora)
    with pytest.raises(BadInput, match="cannot encode a control token as text"):
        ReferenceEncoder(tmp_path / "own").encode(WRITTEN)
    for source in study["sources"].values():
        source["control_tokens"] = "token"
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)


def unigram(texts: Iterable[str]) -> Tokenizer:
    letters = sorted(set("".join(texts)) | set(END_OF_DOCUMENT) | set("▁"))
    tokenizer = Tokenizer(
        models.Unigram([("<unk>", -20.0), (END_OF_DOCUMENT, 0.0), *((one, -5.0) for one in letters)], 0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([AddedToken(END_OF_DOCUMENT, special=True)])
    return tokenizer


def test_python_s_text_has_no_such_field(study: dict[str, Any], tmp_path: Path) -> None:
    study["sources"]["prose"] = {"python": "topics", "control_tokens": "token"}
    with pytest.raises(BadInput, match="is of text from files"):
        planned(study, tmp_path / "store")
