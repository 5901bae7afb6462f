"""Evaluate models one after the other, each process its own.

`python -m switchpoint.components.evaluate.app JOB.json`
"""

import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.recipe.errors import reason_of
from switchpoint.components.recipe.fields import Config
from switchpoint.components.store.location import read_json
from switchpoint.components.store.opening import store_at
from switchpoint.components.store.store import Store


class EvaluatedModel(Config):
    folder: str
    """The model's path in the store, or the user's absolute one; the same holds for the other files."""
    result: str
    """The file in the store that the scores, or the error, are written to."""


class EvaluateJob(Config):
    store: str
    """The store's folder or URL."""
    models: list[EvaluatedModel]
    tokenizer: str
    parts: dict[str, tuple[str, list[str]]]
    """For each source its part and the files of its held-out documents."""
    categories: dict[str, str]
    """The categories of the sources that have one."""
    with_control_tokens: list[str] = Field(default_factory=list)
    """The sources whose control tokens that are written out are such."""
    sequence_length: int
    questions: int
    bytes_per_source: int
    suites: list[str]
    """The suites with data of their own."""
    data_folder: str | None
    batch_size: int = 32


def main() -> None:
    die_with_parent()
    job = EvaluateJob.model_validate(read_json(sys.argv[1]))
    store = store_at(job.store)
    # Models are few, and lm-eval is one thread of Python most of the time: so processes, not threads.
    own = [
        model
        for model in job.models[int(os.environ["RANK"]) :: int(os.environ["WORLD_SIZE"])]
        # Results of an earlier start: a cluster restarts pods without the launcher.
        if "examples" not in (read_json(f"{job.store}/{model.result}") or {})
    ]
    try:
        evaluate = _evaluator(job, store)
    except Exception as error:  # nothing can be evaluated: that is the reason for each
        traceback.print_exc()
        for model in own:
            store.write(model.result, {"error": reason_of(error)})
        return
    for model in own:
        try:
            result = evaluate(store.fetch_folder(model.folder))
        except Exception as error:  # one model's failure must not take the others' scores, here or in other processes
            traceback.print_exc()
            result = {"error": reason_of(error)}
        store.write(model.result, result)


def _evaluator(job: EvaluateJob, store: Store) -> Any:
    """Return a function of a model's folder: its result."""
    from switchpoint.components.evaluate.harness import evaluate_suites
    from switchpoint.components.evaluate.load import load_suites
    from switchpoint.components.evaluate.model import load_model
    from switchpoint.components.evaluate.suite import BITS_PER_BYTE, build_tasks, evaluate_local

    parts = {source: (part, [store.fetch_file(path) for path in paths]) for source, (part, paths) in job.parts.items()}
    tokenizer_folder = store.fetch_folder(job.tokenizer)
    loaded = load_suites(job.suites, job.data_folder)

    def evaluate(folder: Path) -> dict[str, Any]:
        model = load_model(folder, tokenizer_folder, job.batch_size)
        # Tasks hold their requests and answers: each model gets its own.
        tasks, too_long = build_tasks(parts, job.questions, job.bytes_per_source, model.documents, job.sequence_length)
        lm = model.as_lm(job.sequence_length, [f"{BITS_PER_BYTE}{source}" for source in job.with_control_tokens])
        results = evaluate_local(lm, tasks, job.categories)
        if loaded:
            results.update(evaluate_suites(model.as_lm(), loaded))
        return {"questions_too_long": too_long} | asdict(results)

    return evaluate


if __name__ == "__main__":
    main()
