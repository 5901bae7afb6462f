"""Which run of Kubeflow Pipelines a study has, kept in its store."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from components.recipe.digest import digest_of
from components.recipe.errors import BadInput
from components.store.store import Store, read_json


@dataclass(frozen=True, kw_only=True)
class Submission:
    run_id: str
    kfp_url: str
    version: str
    """Of the pipeline."""
    submitted: str


def _path(study: dict[str, Any]) -> str:
    return f"submissions/{digest_of(study)}.json"


def save_submission(store: Store, study: dict[str, Any], run_id: str, kfp_url: str, version: str) -> Submission:
    submitted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    submission = Submission(run_id=run_id, kfp_url=kfp_url, version=version, submitted=submitted)
    store.write(_path(study), asdict(submission))
    return submission


def submission_of(store: Store, study: dict[str, Any]) -> Submission | None:
    """The newest one of this very study; a changed recipe is another one."""
    found = read_json(f"{store.where}/{_path(study)}")
    return None if found is None else Submission(**found)


def needed_submission(store: Store, study: dict[str, Any]) -> Submission:
    """Raises BadInput where the study was not submitted."""
    found = submission_of(store, study)
    if found is None:
        raise BadInput("this study was not submitted", file=store.where, allowed="`switchpoint submit` first")
    return found
