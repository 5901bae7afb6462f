"""Multiple-choice questions about the standard library, made from the docstrings of held-out modules."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from switchpoint.components.data.documents import Document
from switchpoint.components.data.python_text import prompt_of

NUM_CHOICES = 4
QUESTION_PARTS = ("qa", "qa_world_knowledge")
"""The parts that questions are made from: the first of these that the recipe has."""
SEED = 20240707
"""Questions are the same in every study on the same text: arms are compared on equal terms."""


def multiple_choice(
    documents: Iterable[Document], num_questions: int, fits: Callable[[str], bool]
) -> tuple[list[dict[str, Any]], int]:
    """Return up to `num_questions` of `{prompt, choices, gold}`; wrong choices are answers to other units' questions.

    Questions that do not fit the model's window with each of their choices are left out; the second value counts them.
    """
    rng = random.Random(SEED)
    pool = sorted(documents, key=lambda document: document.question)
    answers_of_others = {unit: [d.answer for d in pool if d.unit != unit] for unit in {d.unit for d in pool}}
    questions: list[dict[str, Any]] = []
    too_long = 0
    for document in rng.sample(pool, len(pool)):
        if len(questions) == num_questions:
            break
        others = sorted(set(answers_of_others[document.unit]) - {document.answer})
        if len(others) < NUM_CHOICES - 1:
            continue
        choices = [document.answer, *rng.sample(others, NUM_CHOICES - 1)]
        rng.shuffle(choices)
        prompt = prompt_of(document.question)
        if not all(fits(f"{prompt} {choice}") for choice in choices):
            too_long += 1
            continue
        questions.append({"prompt": prompt, "choices": choices, "gold": choices.index(document.answer)})
    return questions, too_long
