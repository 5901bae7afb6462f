"""Reads the data of suites, before anything is trained: `python -m components.evaluate.check_app JOB.json`."""

import sys
import traceback
from pathlib import Path

from components.launch.process import die_with_parent
from components.recipe.fields import Config
from components.store.store import write_json


class CheckJob(Config):
    suites: list[str]
    data_folder: str | None
    questions: int
    """How many of each score to write down, for evaluation while runs train."""
    result: str
    """The file that the questions, or the error, are written to."""


def main() -> None:
    die_with_parent()
    from components.evaluate.load import load_suites
    from components.evaluate.suite_questions import suite_questions

    job = CheckJob.model_validate_json(Path(sys.argv[1]).read_text())
    try:
        asked = suite_questions(load_suites(job.suites, job.data_folder), job.questions)
        result = {"questions": [one.model_dump() for one in asked]}
    except Exception as error:
        traceback.print_exc()
        write_json(Path(job.result), {"error": str(error)})
        sys.exit(1)
    write_json(Path(job.result), result)


if __name__ == "__main__":
    main()
