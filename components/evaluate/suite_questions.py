"""Some questions of the suites, in the form of lm-eval: what runs are evaluated on while they train."""

import math
from collections.abc import Sequence
from typing import Any

from switchpoint.components.evaluate.load import LoadedBenchmark
from switchpoint.components.recipe.fields import Config
from switchpoint.components.recipe.suites import FEWSHOT_SEED


class SuiteQuestion(Config):
    """A multiple-choice question in text."""

    score: str
    pairs: list[tuple[str, str]]
    """Context and continuation of every choice."""
    lengths: list[float]
    """The number that a choice's log-likelihood is divided by: 1, or its characters."""
    gold: int


def suite_questions(loaded: Sequence[LoadedBenchmark], number: int) -> list[SuiteQuestion]:
    """Return the first questions of every task, together about `number` for a score.

    Only multiple choice: answers that are generated take too long beside a training step.
    """
    found: list[SuiteQuestion] = []
    for one in loaded:
        tasks = [task for task in one.tasks if task.OUTPUT_TYPE == "multiple_choice"]
        for task in tasks if number else []:
            task.set_fewshot_seed(FEWSHOT_SEED)
            task.build_all_requests(limit=math.ceil(number / len(tasks)), rank=0, world_size=1)
            by_doc: dict[int, list[Any]] = {}
            for instance in task.instances:
                by_doc.setdefault(instance.doc_id, []).append(instance)
            for instances in by_doc.values():
                found += [question] if (question := _question(one, task, instances)) else []
    return found


def _question(one: LoadedBenchmark, task: Any, instances: Sequence[Any]) -> SuiteQuestion | None:
    """Return a question; None if the task accepts several choices, or none, as right."""
    pairs = [tuple(instance.args[:2]) for instance in sorted(instances, key=lambda instance: int(instance.idx))]
    right = []
    for number in range(len(pairs)):
        # The task itself says which choice is right: by its metric, if that one alone is likely.
        likely = [(0.0 if other == number else -1e6, False) for other in range(len(pairs))]
        right += [number] if task.process_results(instances[0].doc, likely)[one.benchmark.metric] == 1 else []
    if len(right) != 1:
        return None
    delimiter = len(task.config.target_delimiter)
    normalised = one.benchmark.metric == "acc_norm"
    lengths = [max(1.0, float(len(continuation) - delimiter)) if normalised else 1.0 for _, continuation in pairs]
    return SuiteQuestion(score=one.name, pairs=pairs, lengths=lengths, gold=right[0])
