"""Scores on the ids that were trained on, for tokenizers that begin a text and for those that do not: all by hand."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.documents import Document, write_documents
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT
from switchpoint.components.evaluate.make_probes import _of_suite, _texts
from switchpoint.components.evaluate.model import LoadedModel
from switchpoint.components.evaluate.suite import build_tasks, evaluate_local
from switchpoint.components.evaluate.suite_questions import SuiteQuestion
from switchpoint.components.recipe.training import Training
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.probe_file import PROBES, ProbeFile
from switchpoint.components.train.probes import Probes
from tests.tokenizer_folders import TEXTS, write_tokenizer

LENGTH = 24
"""The window: the second document is longer."""
DOCUMENTS = ["It adds 12.", TEXTS[8] * 2]
CHOICES = [" adds 11 to it.", " returns", " what it's given,\n\nand  returns 17"]


@dataclass
class Case:
    """A model with one of the tokenizers, and what was trained on before a text."""

    folder: Path
    model: Any
    tokenizer: Tokenizer
    given: list[int]
    """What the first id of a text is predicted from."""
    leading: list[int]
    """What a prompt begins with."""

    @property
    def loaded(self) -> LoadedModel:
        return LoadedModel(self.model, DocumentTokenizer(self.folder), 4)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def log_likelihood(self, given: list[int], predicted: list[int]) -> float:
        """The sum of log P of each id, one sequence without padding."""
        whole = torch.tensor([*given, *predicted])
        with torch.no_grad():
            logs = torch.log_softmax(self.model(whole[None, :-1]).logits[0].double(), -1)
        places = range(len(given) - 1, len(whole) - 1)
        return sum(float(logs[place, whole[place + 1]]) for place in places)


AROUND: dict[str, dict[str, Any]] = {
    "nothing": {}, "bos": {"before": ["<s>"]}, "two": {"before": ["[g]", "<sop>"]},
    "bos and eos": {"before": ["<s>"], "after": [END_OF_DOCUMENT]}, "eos": {"after": [END_OF_DOCUMENT]},
}  # fmt: skip


@pytest.fixture(params=AROUND)
def case(request: pytest.FixtureRequest, tmp_path: Path, model: LoadedModel) -> Case:
    tokenizer = write_tokenizer(tmp_path / "tokenizer", **AROUND[request.param])
    leading = [tokenizer.token_to_id(token) for token in AROUND[request.param].get("before", [])]
    end = tokenizer.token_to_id(END_OF_DOCUMENT)
    return Case(tmp_path / "tokenizer", model.model, tokenizer, leading or [end], leading)


def bits_by_hand(case: Case, text: str, window: int) -> float:
    """Windows of ids, each given the id before it: the first window, what stands before a text."""
    ids = case.ids(text)
    pieces = [(case.given, ids[:window])] if len(ids) <= window else []
    if not pieces:  # the second window is as long as the first, and only what is new in it counts
        assert window < len(ids) <= 3 * window
        first = (case.given[-1:], ids[:window])
        pieces, at = [first], window
        while at < len(ids):
            end = min(len(ids), at + window)
            pieces.append((ids[end - window - 1 : at], ids[at:end]))
            at = end
    return -sum(case.log_likelihood(given, predicted) for given, predicted in pieces) / math.log(2)


def test_bits_per_byte_are_those_of_the_ids_trained_on(case: Case, tmp_path: Path) -> None:
    for number, text in enumerate(DOCUMENTS):
        write_documents(tmp_path / f"{number}.jsonl", [Document(unit="u", part="text", text=text)])
    parts = {f"source{number}": ("text", [tmp_path / f"{number}.jsonl"]) for number in range(len(DOCUMENTS))}
    tasks, _ = build_tasks(parts, 0, 10_000, case.loaded.documents, LENGTH)
    results = evaluate_local(case.loaded.as_lm(LENGTH), tasks, {})
    for number, text in enumerate(DOCUMENTS):
        found = results.scores[f"bits_per_byte.source{number}"]["value"]
        assert found == pytest.approx(bits_by_hand(case, text, LENGTH) / len(text.encode()), rel=1e-5)


@pytest.mark.parametrize("become", ["text", "token"])
def test_control_tokens_in_a_held_out_text_are_what_they_are_in_training(
    case: Case, tmp_path: Path, become: str
) -> None:
    """Of a source that says so they are such; in everything else they are text. `ids` are by hand."""
    text = f"It{END_OF_DOCUMENT} adds <s> 12."
    data = json.loads((case.folder / "tokenizer.json").read_text())
    plain = Tokenizer.from_str(json.dumps(data | {"added_tokens": [], "post_processor": None}))
    ids = case.ids(text) if become == "token" else list(plain.encode(text).ids)
    assert (case.tokenizer.token_to_id(END_OF_DOCUMENT) in ids) == (become == "token")
    write_documents(tmp_path / "a.jsonl", [Document(unit="u", part="text", text=text)])
    tasks, _ = build_tasks({"a": ("text", [tmp_path / "a.jsonl"])}, 0, 10_000, case.loaded.documents, 64)
    as_tokens = ["bits_per_byte.a"] if become == "token" else []
    results = evaluate_local(case.loaded.as_lm(64, as_tokens), tasks, {})
    wanted = -case.log_likelihood(case.given, ids) / math.log(2) / len(text.encode())
    assert results.scores["bits_per_byte.a"]["value"] == pytest.approx(wanted, rel=1e-5)
    documents = case.loaded.documents.with_control_tokens("token" if as_tokens else "text")
    (probe,) = _texts("a", [tmp_path / "a.jsonl"], 1_000, documents, 64)
    assert probe.tokens == [*case.given, *ids]
    asked = SimpleNamespace(args=("Q", f" {text}"), task_name="questions")
    (choice,) = case.loaded.as_lm(64, as_tokens).loglikelihood([asked])
    after = plain.encode(f"Q {text}").ids[len(plain.encode("Q").ids) :]
    given = [*case.leading, *plain.encode("Q").ids]
    assert choice[0] == pytest.approx(case.log_likelihood(given, after), rel=1e-5)


@pytest.mark.parametrize("context", ["Function number 7", "Function number 7 ", "", " "])
def test_a_choice_is_as_likely_as_by_hand(case: Case, context: str) -> None:
    requests = [SimpleNamespace(args=(context, choice), task_name="q") for choice in CHOICES]
    found = case.loaded.as_lm(64).loglikelihood(requests)
    for (likelihood, _), choice in zip(found, CHOICES, strict=True):
        before = case.ids(context.rstrip())
        after = case.ids(context + choice)[len(before) :]
        given = [*case.leading, *before] if before else case.given
        assert likelihood == pytest.approx(case.log_likelihood(given, after), rel=1e-5)


def test_a_generated_answer_follows_the_prompt_as_a_document_begins(case: Case) -> None:
    """The longer prompt is generated as it is alone: padding is not read."""
    prompts = ["Function number 7 adds", "It"]
    lm = case.loaded.as_lm(64)
    ids, mask = lm.tok_batch_encode(prompts)
    for row, kept, prompt in zip(ids.tolist(), mask.tolist(), prompts, strict=True):
        assert [one for one, keep in zip(row, kept, strict=True) if keep] == [*case.leading, *case.ids(prompt)]
    requests = [SimpleNamespace(args=(prompt, {"until": [], "max_gen_toks": 4})) for prompt in prompts]
    for answer, prompt in zip(lm.generate_until(requests), prompts, strict=True):
        whole = [*case.leading, *case.ids(prompt)]
        for _ in range(4):
            with torch.no_grad():
                whole.append(int(case.model(torch.tensor([whole])).logits[0, -1].argmax()))
        text = case.tokenizer.decode(whole[-4:], skip_special_tokens=True)
        assert answer == text.split(END_OF_DOCUMENT)[0]


def test_runs_are_evaluated_on_the_same_ids_while_they_train(case: Case, tmp_path: Path) -> None:
    write_documents(tmp_path / "a.jsonl", [Document(unit="u", part="text", text=DOCUMENTS[0])])
    documents = case.loaded.documents
    texts = _texts("a", [tmp_path / "a.jsonl"], 1_000, documents, LENGTH)
    pairs = [("Function number 7", choice) for choice in CHOICES]
    best = max(
        range(3),
        key=lambda number: case.log_likelihood(
            [*case.leading, *case.ids(pairs[number][0])],
            case.ids("".join(pairs[number]))[len(case.ids(pairs[number][0])) :],
        ),
    )  # fmt: skip
    question = SuiteQuestion(score="q", pairs=pairs, lengths=[1.0] * 3, gold=best)
    (tmp_path / PROBES).write_text(
        ProbeFile(texts=texts, questions=[_of_suite(question, documents, 64)]).model_dump_json()
    )
    found = Probes(tmp_path / PROBES, Ranks(0, 1, Training()), 512).evaluate(case.model)
    case.model.eval()
    bits = bits_by_hand(case, DOCUMENTS[0], LENGTH) / len(DOCUMENTS[0].encode())
    assert found["bits_per_byte.a"] == pytest.approx(bits, rel=1e-5)
    assert found["q"] == 1.0
