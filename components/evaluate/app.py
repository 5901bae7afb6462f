"""Evaluates models one after the other in one process: `python -m components.evaluate.app JOB.json`."""

import os
import sys
import traceback
from pathlib import Path

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
    sequence_length: int
    questions: int
    bytes_per_source: int
    batch_size: int = 32


def main() -> None:
    die_with_parent()
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    from components.blend.tokenizer import load_tokenizer
    from components.evaluate.suite import build_tasks, evaluate_model

    job = EvaluateJob.model_validate_json(Path(sys.argv[1]).read_text())
    parts = {source: (part, [Path(path) for path in paths]) for source, (part, paths) in job.parts.items()}
    tokenizer, _ = load_tokenizer(Path(job.tokenizer))
    failed = False
    for model in job.models:
        try:
            # Tasks hold their requests and answers: each model gets its own.
            tasks, too_long = build_tasks(parts, job.questions, job.bytes_per_source, tokenizer, job.sequence_length)
            result = {"questions_too_long": too_long} | evaluate_model(
                Path(model.folder), Path(job.tokenizer), tasks, job.sequence_length, job.batch_size
            )
        except Exception as error:  # one model's failure must not take the others' scores
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"}
            failed = True
        write_json(Path(model.result), result)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
