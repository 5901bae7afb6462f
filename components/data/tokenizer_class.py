"""Whether transformers reads a tokenizer's folder as training does, whatever model lies beside it.

AutoTokenizer picks a class by the model's type and by `tokenizer_class`. Some classes take the vocabulary from
tokenizer.json and build the rest by rules of their own: other ids for the same text, and no error.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.encoder import ids_before
from switchpoint.components.data.tokenizer_files import copy_tokenizer
from switchpoint.components.recipe.bases import field_of
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.model import KINDS, Model
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store, read_json

PLAIN_CLASS = "PreTrainedTokenizerFast"
"""The class that reads tokenizer.json as it is."""
NUM_ENTRIES, NUM_JOINED = 1_024, 16
TEXTS = (
    "The cat's 12345 tails, weren't they?  I'LL see.\n\n\tdef f(x):\n    return x == 3.14  # ok\r\n",
    "nai\u0308ve cafe\u0301 Ünï ﬁ ① 漢字かな 한국어 Привет العربية हिन्दी",
    " leading and trailing  ", "\n\n\n   \n x\t\t y", "CamelCase snake_case http://a.b/c?d=1&e=2 <b>x</b> ▁a ▁▁b",
    "\U0001f600\U0001f469\u200d\U0001f680 \u200b\u00a0 -- ... $1,000.00 (a) [b] {c} 'd' \"e\"", "UPPER lower 007 0x1F",
)  # fmt: skip


def comparison_texts(tokenizer: Tokenizer) -> list[str]:
    """Return texts that tell tokenizers apart: writing of many kinds, and entries of the vocabulary, which are cut
    where another tokenizer splits a text first.
    """
    ids = sorted(tokenizer.get_vocab(with_added_tokens=False).values())
    entries = [tokenizer.decode([one]) for one in ids[:: max(1, len(ids) // NUM_ENTRIES)]]
    joined = [entries[first : first + NUM_JOINED] for first in range(0, len(entries), NUM_JOINED)]
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()][:NUM_ENTRIES]
    return [
        *TEXTS,
        *(separator.join(part) for part in joined for separator in ("", " ")),
        *(f"a{token} b {token}c" for token in added),
    ]


def gives_other_ids(first: DocumentTokenizer, second: DocumentTokenizer) -> bool:
    """Return whether two tokenizers make different documents of a text."""
    if (first.leading, first.end_of_document) != (second.leading, second.end_of_document):
        return True
    texts = [*comparison_texts(first.tokenizer), *comparison_texts(second.tokenizer)]
    return any(first.encode(text) != second.encode(text) for text in texts)


def difference(folder: Path, config: Mapping[str, Any] | None = None) -> str:
    """Return how the ids of AutoTokenizer differ from those of training, empty if they do not.

    `config`: the config.json of the model that the tokenizer lies beside; None: of no model.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    documents = DocumentTokenizer(folder, control_tokens="token")  # as AutoTokenizer takes them
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of texts and classes, which is what the result tells
    try:
        with tempfile.TemporaryDirectory() as beside:
            copy_tokenizer(folder, Path(beside))
            if config is not None:
                (Path(beside) / "config.json").write_text(json.dumps(config))
            auto = AutoTokenizer.from_pretrained(beside, local_files_only=True, trust_remote_code=False)
            name = type(auto).__name__
            texts = comparison_texts(documents.tokenizer)
            pairs = [([*documents.leading, *documents.encode(text)], list(auto.encode(text))) for text in texts]
    except Exception as error:  # the library raises what it likes for files that a class cannot be built from
        return f"AutoTokenizer cannot read it: {' '.join(str(error).split())[:200]}"
    finally:
        logging.set_verbosity(verbosity)
    begins = ids_before(list(auto.encode("a")), list(auto.encode("a", add_special_tokens=False)))
    if begins != documents.leading:
        theirs, ours = (
            " ".join(str(documents.tokenizer.id_to_token(one)) for one in ids) or "nothing"
            for ids in (begins, documents.leading)
        )
        return f"AutoTokenizer ({name}) begins a text with {theirs}, tokenizer.json with {ours}"
    # A tokenizer may end a text: training ends documents itself.
    other = sum(found[: len(wanted)] != wanted for wanted, found in pairs)
    return f"AutoTokenizer ({name}) gives other ids for {other} of {len(pairs)} texts" if other else ""


def differences(folder: Path) -> dict[str, str]:
    """Return how AutoTokenizer differs from training, by the type of the model beside it; only where it does."""
    found = {kind: difference(folder, {"model_type": kind} if kind else None) for kind in ("", *KINDS)}
    return {kind: text for kind, text in found.items() if text}


def settle_class(folder: Path) -> dict[str, str]:
    """Make the class of the tokenizer in `folder` one that reads tokenizer.json as it is, if its own does not; return
    the differences that are left. No class helps where transformers takes the model's own whatever the files say.
    """
    before = differences(folder)
    path = folder / "tokenizer_config.json"
    original = path.read_text(encoding="utf-8")
    config = json.loads(original)
    if not before or config.get("tokenizer_class") == PLAIN_CLASS:
        return before
    config.pop("auto_map", None)  # code that is not copied
    path.write_text(json.dumps(config | {"tokenizer_class": PLAIN_CLASS}, indent=1, ensure_ascii=False), "utf-8")
    after = differences(folder)
    if after.keys() >= before.keys():
        path.write_text(original, "utf-8")
        return before
    return after


def check_class(plan: Plan, store: Store) -> None:
    """Raise BadInput where a model of the plan would be loaded with another tokenizer, from the folder it is exported
    to.
    """
    record = store.record(plan.tokenizer)
    assert record is not None
    known = record["environment"]["other_ids"]
    folder = store.fetch_output(plan.tokenizer)
    for name, base in plan.bases.items():
        config = _config_of(base.origin)
        kind = config.get("model_type", "")
        text = known.get(kind, "") if config.keys() <= {"model_type"} and kind in KINDS else difference(folder, config)
        if text:
            field = f"{field_of(name)}.folder" if base.origin.folder else f"{field_of(name)}.architecture.kind"
            raise BadInput(
                f"transformers would load the model with another tokenizer than it was trained with: {text}",
                file=plan.recipe.tokenizer.folder or "", field=field, given=kind,
                allowed=f"a tokenizer of the kind that transformers takes for a model of this type; this one is read "
                f"as it is beside {', '.join(one for one in KINDS if one not in known) or 'no model'}",
            )  # fmt: skip


def _config_of(model: Model) -> dict[str, Any]:
    """Return what decides the class of a model's tokenizer."""
    if model.folder is None:
        return {"model_type": model.architecture.kind if model.architecture else ""}
    config = read_json(Path(model.folder) / "config.json") or {}
    return {name: config[name] for name in ("model_type", "tokenizer_class") if config.get(name)}
