"""Multiple-choice questions about the standard library, made from the docstrings of held-out modules."""

import random
from collections.abc import Iterable
from typing import Any

from components.blend.documents import Document
from components.blend.python_text import prompt_of

NUM_CHOICES = 4
SEED = 20240707
"""Questions are the same in every study on the same text: arms are compared on equal terms."""


def multiple_choice(documents: Iterable[Document], num_questions: int) -> list[dict[str, Any]]:
    """Up to `num_questions` of `{prompt, choices, gold}`; wrong choices are answers to other units' questions."""
    rng = random.Random(SEED)
    pool = sorted(documents, key=lambda document: document.question)
    answers_of_others = {unit: [d.answer for d in pool if d.unit != unit] for unit in {d.unit for d in pool}}
    questions: list[dict[str, Any]] = []
    for document in rng.sample(pool, len(pool)):
        others = sorted(set(answers_of_others[document.unit]) - {document.answer})
        if len(questions) == num_questions or len(others) < NUM_CHOICES - 1:
            break
        choices = [document.answer, *rng.sample(others, NUM_CHOICES - 1)]
        rng.shuffle(choices)
        questions.append(
            {
                "prompt": prompt_of(document.question),
                "choices": choices,
                "gold": choices.index(document.answer),
            }
        )
    return questions
