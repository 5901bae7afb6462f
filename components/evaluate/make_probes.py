"""The maker of probes: the beginnings of held-out documents, and some of the suites' questions, as token ids."""

from collections.abc import Sequence
from pathlib import Path

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.documents import read_documents
from switchpoint.components.evaluate.heldout import fetch_heldout_parts
from switchpoint.components.evaluate.questions import QUESTION_PARTS, multiple_choice
from switchpoint.components.evaluate.suite_questions import SuiteQuestion
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store, write_json
from switchpoint.components.train.probe_file import PROBES, ProbeFile, ProbeQuestion, ProbeText

MAX_TOKENS = 1024
"""The largest number of tokens of a text: longer ones cost memory (their logits) and tell little more."""


def make_probes(plan: Plan, store: Store, asked: Sequence[SuiteQuestion] = ()) -> None:
    """Write the probes' file into the store, if the study evaluates while it trains. `asked`: the suites' questions."""
    continual = plan.recipe.evaluation.continual
    if plan.probes is None or continual is None or store.is_done(plan.probes):
        return
    tokenizer = DocumentTokenizer(store.fetch_output(plan.tokenizer))
    length = min(plan.recipe.sequence_length, MAX_TOKENS)
    texts: list[ProbeText] = []
    questions: list[ProbeQuestion] = []
    for source, (part, paths) in fetch_heldout_parts(plan, store).items():
        documents = tokenizer.with_control_tokens(plan.recipe.sources[source].control_tokens)
        texts += _texts(source, paths, continual.bytes_per_source, documents, length)
        if part in QUESTION_PARTS and continual.questions and not questions:
            questions = _questions(paths, continual.questions, tokenizer, length)
    window = plan.recipe.sequence_length
    questions += [_of_suite(question, tokenizer, window) for question in asked]
    with store.output(plan.probes) as folder:
        write_json(folder / PROBES, ProbeFile(texts=texts, questions=questions).model_dump())
        outputs = {
            "texts": len(texts), "questions": len(questions), "tokens": sum(len(text.tokens) for text in texts),
        }  # fmt: skip
        store.write_record(plan.probes, folder, outputs)


def _texts(
    source: str, paths: list[Path], num_bytes: int, tokenizer: DocumentTokenizer, length: int
) -> list[ProbeText]:
    """Return beginnings of `length` tokens, in order, until together they hold `num_bytes`."""
    found: list[ProbeText] = []
    left = num_bytes
    for document in (document for path in paths for document in read_documents(path)):
        if left <= 0:
            break
        encoded = tokenizer.encoding(document.text)
        ids, offsets = encoded.ids[:length], encoded.offsets[:length]
        if not ids:
            continue
        held = len(document.text[: offsets[-1][1]].encode())
        given = tokenizer.before_text
        found.append(ProbeText(source=source, tokens=[*given, *ids], num_given=len(given), num_bytes=held))
        left -= held
    return found


def _questions(paths: list[Path], number: int, tokenizer: DocumentTokenizer, length: int) -> list[ProbeQuestion]:
    """Return questions in the form of lm-eval: the answer follows the prompt after a blank."""

    def fits(text: str) -> bool:
        return len(tokenizer.encode_document(text)) <= length

    documents = [document for path in paths for document in read_documents(path)]
    asked, _ = multiple_choice(documents, number, fits)
    found = []
    for question in asked:
        pairs = [tokenizer.encode_pair(question["prompt"], f" {choice}") for choice in question["choices"]]
        lengths = [1.0] * len(pairs)
        found.append(ProbeQuestion(task="accuracy", pairs=pairs, lengths=lengths, gold=question["gold"]))
    return found


def _of_suite(question: SuiteQuestion, tokenizer: DocumentTokenizer, window: int) -> ProbeQuestion:
    """Return a suite's question. A prompt that is longer than the window loses its beginning."""
    pairs = []
    for context, continuation in question.pairs:
        before, choice = tokenizer.encode_pair(context, continuation)
        pairs.append((before[-max(1, window + 1 - len(choice)) :], choice))
    return ProbeQuestion(task=question.score, pairs=pairs, lengths=question.lengths, gold=question.gold)
