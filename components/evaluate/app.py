"""Evaluates models one after the other, each process its own: `python -m components.evaluate.app JOB.json`."""

import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.launch.process import die_with_parent
from components.recipe.fields import Config
from components.store.store import write_json


class EvaluatedModel(Config):
    folder: str
    result: str
    """The file that the scores, or the error, are written to."""


class EvaluateJob(Config):
    models: list[EvaluatedModel]
    tokenizer: str
    parts: dict[str, tuple[str, list[str]]]
    """For each source its part and the files of its held-out documents."""
    categories: dict[str, str]
    """Of the sources that have one."""
    sequence_length: int
    questions: int
    bytes_per_source: int
    suites: list[str]
    """With data of their own."""
    data_folder: str | None
    batch_size: int = 32


def main() -> None:
    die_with_parent()
    job = EvaluateJob.model_validate_json(Path(sys.argv[1]).read_text())
    # Models are few, and lm-eval is one thread of Python most of the time: so processes, not threads.
    own = job.models[int(os.environ["RANK"]) :: int(os.environ["WORLD_SIZE"])]
    try:
        evaluate = _evaluator(job)
    except Exception as error:  # nothing can be evaluated: that is the reason for each
        traceback.print_exc()
        for model in own:
            write_json(Path(model.result), {"error": f"{type(error).__name__}: {error}"})
        return
    for model in own:
        try:
            result = evaluate(Path(model.folder))
        except Exception as error:  # one model's failure must not take the others' scores, here or in other processes
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"}
        write_json(Path(model.result), result)


def _evaluator(job: EvaluateJob) -> Any:
    """A function of a model's folder: its result."""
    from components.blend.tokenizer import load_tokenizer
    from components.evaluate.harness import evaluate_suites
    from components.evaluate.load import load_suites
    from components.evaluate.model import load_model
    from components.evaluate.suite import build_tasks, evaluate_local

    parts = {source: (part, [Path(path) for path in paths]) for source, (part, paths) in job.parts.items()}
    tokenizer, _ = load_tokenizer(Path(job.tokenizer))
    loaded = load_suites(job.suites, job.data_folder)

    def evaluate(folder: Path) -> dict[str, Any]:
        model = load_model(folder, Path(job.tokenizer), job.batch_size)
        # Tasks hold their requests and answers: each model gets its own.
        tasks, too_long = build_tasks(parts, job.questions, job.bytes_per_source, tokenizer, job.sequence_length)
        results = evaluate_local(model.as_lm(job.sequence_length), tasks, job.categories)
        if loaded:
            results.update(evaluate_suites(model.as_lm(), loaded))
        return {"questions_too_long": too_long} | asdict(results)

    return evaluate


if __name__ == "__main__":
    main()
