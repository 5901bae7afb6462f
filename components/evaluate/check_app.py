"""Read the data of suites, before anything is trained.

`python -m switchpoint.components.evaluate.check_app JOB.json`
"""

import sys
import traceback

from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.recipe.fields import Config
from switchpoint.components.store.location import read_json
from switchpoint.components.store.opening import store_at


class CheckJob(Config):
    suites: list[str]
    data_folder: str | None
    questions: int
    """How many questions of each score to record, for evaluation while runs train."""
    store: str
    """The store's folder or URL."""
    result: str
    """The file in the store that the questions, or the error, are written to."""


def main() -> None:
    die_with_parent()
    from switchpoint.components.evaluate.load import load_suites
    from switchpoint.components.evaluate.suite_questions import suite_questions

    job = CheckJob.model_validate(read_json(sys.argv[1]))
    store = store_at(job.store)
    try:
        asked = suite_questions(load_suites(job.suites, job.data_folder), job.questions)
        result = {"questions": [one.model_dump() for one in asked]}
    except Exception as error:
        traceback.print_exc()
        store.write(job.result, {"error": str(error)})
        sys.exit(1)
    store.write(job.result, result)


if __name__ == "__main__":
    main()
