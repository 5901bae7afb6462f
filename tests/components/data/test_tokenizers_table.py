"""The table of tested tokenizers in the docs is what is found here. Write it: SWITCHPOINT_GOLDEN=write pytest FILE."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from switchpoint.components.data.control_tokens import token_not_as_text
from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.encoder import open_encoder
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, load_tokenizer
from switchpoint.components.data.tokenizer_class import PLAIN_CLASS, settle_class
from switchpoint.components.recipe.model import KINDS
from tests.components.data.test_control_tokens import unigram
from tests.components.data.test_tokenizer_class import gemma, qwen2
from tests.tokenizer_folders import TEXTS, write_tokenizer

DOC = Path(__file__).parents[3] / "docs" / "tokenizers.md"
BEGIN, END = "<!-- made by tests/components/data/test_tokenizers_table.py -->\n", "<!-- end -->\n"

BYTE_LEVEL = "byte-level BPE"
GEMMA = {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
TESTED: list[tuple[str, str, dict[str, Any]]] = [
    (BYTE_LEVEL, "", {}),
    *((BYTE_LEVEL, name, {}) for name in (PLAIN_CLASS, "GPT2Tokenizer", "Qwen2Tokenizer", "CohereTokenizer")),
    *(
        (BYTE_LEVEL, name, {"before": ["<s>"]})
        for name in (PLAIN_CLASS, "LlamaTokenizerFast", "GPTNeoXTokenizerFast", "GemmaTokenizer")
    ),
    (f"{BYTE_LEVEL}, ends a text, too", PLAIN_CLASS, {"before": ["<s>"], "after": [END_OF_DOCUMENT]}),
    (BYTE_LEVEL, PLAIN_CLASS, {"before": ["[gMASK]", "<sop>"]}),
    ("as Qwen 2's", "Qwen2Tokenizer", {"make": qwen2}),
    ("as Gemma's", "GemmaTokenizer", {"make": gemma, **GEMMA}),
    ("as Gemma's", "GemmaTokenizer", {"make": gemma, "before": ["<bos>"], **GEMMA}),
    ("Unigram", PLAIN_CLASS, {"make": lambda: unigram(TEXTS)}),
]


def row(folder: Path, what: str, name: str, options: dict[str, Any]) -> str:
    make = options.pop("make", None)
    config = {"tokenizer_class": name} if name else {}
    tokenizer: Tokenizer = write_tokenizer(folder, tokenizer=make() if make else None, **config, **options)
    left = settle_class(folder)
    found = json.loads((folder / "tokenizer_config.json").read_text()).get("tokenizer_class")
    documents = DocumentTokenizer(folder)
    begins = " ".join(f"`{documents.tokenizer.id_to_token(one)}`" for one in documents.leading)
    as_text = "as entries, refused as text" if token_not_as_text(load_tokenizer(folder)[0]) else "as text"
    engine = open_encoder(folder).name
    assert tokenizer.get_vocab() == documents.tokenizer.get_vocab()
    refused = ", ".join(f"`{kind}`" for kind in KINDS if kind in left) or "none"
    exported = "kept" if found == name else f"`{found}`"
    shown = f"`{name}`" if name else "none"
    return f"| {' | '.join([what, shown, begins or 'nothing', as_text, engine, exported, refused])} |\n"


def test_the_docs_hold_what_is_found(tmp_path: Path) -> None:
    lines = [
        "| tokenizer.json | `tokenizer_class` | begins a text with | written-out control tokens | engine "
        "| exported class | model types refused |\n",
        "|---|---|---|---|---|---|---|\n",
        *(row(tmp_path / str(n), what, name, dict(options)) for n, (what, name, options) in enumerate(TESTED)),
    ]
    text = DOC.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    if os.environ.get("SWITCHPOINT_GOLDEN") == "write":
        DOC.write_text(f"{before}{BEGIN}{''.join(lines)}{END}{after}", encoding="utf-8")
        pytest.skip("written")
    assert table == "".join(lines)
