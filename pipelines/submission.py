"""Which runs of Kubeflow Pipelines a study has, kept in its store: the newest, and the newest smoke run before it."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from components.recipe.digest import digest_of
from components.recipe.errors import BadInput
from components.store.place import remove_files
from components.store.store import Store, read_json


@dataclass(frozen=True, kw_only=True)
class Submission:
    run_id: str
    """Empty: the server did not answer in time; the run is there under its name, or was never made."""
    name: str = ""
    """The run's display name, which no other run has."""
    experiment: str = ""
    """Of Kubeflow Pipelines: the study's name, or its smoke run's."""
    kfp_url: str
    """Empty: from inside the cluster."""
    version: str
    """The name of the pipeline's version."""
    plan: str
    """The reference of the plan that the run's first task writes."""
    submitted: str
    """When: UTC, ISO 8601."""
    cancelled: bool = False
    """Whether `switchpoint cancel` ended it: the backend calls such a run FAILED."""


def _path(study: dict[str, Any], smoke: bool) -> str:
    """A budget that was given with the command makes no other study."""
    without = {name: value for name, value in study.items() if name != "budget"}
    return f"submissions/{digest_of(without)}{'.smoke' if smoke else ''}.json"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def save_submission(store: Store, study: dict[str, Any], submission: Submission, *, smoke: bool = False) -> None:
    """Replace the newest submission of this very study, or of its smoke run."""
    store.write(_path(study, smoke), asdict(submission))


def forget_submission(store: Store, study: dict[str, Any], before: Submission | None, *, smoke: bool = False) -> None:
    """Put `before` back, where the server refused the run that was to replace it."""
    if before is not None:
        save_submission(store, study, before, smoke=smoke)
    else:
        folder, _, name = _path(study, smoke).rpartition("/")
        remove_files(f"{store.where}/{folder}", [name])


def submission_of(store: Store, study: dict[str, Any], *, smoke: bool = False) -> Submission | None:
    """Return the newest one of this very study; a changed recipe is another one."""
    found = read_json(f"{store.where}/{_path(study, smoke)}")
    return None if found is None else Submission(**found)


def submissions_of(store: Store, study: dict[str, Any]) -> list[tuple[str, Submission]]:
    """Return what they run, `study` or `smoke`, the newest first."""
    found = [("study", submission_of(store, study)), ("smoke", submission_of(store, study, smoke=True))]
    there = [(what, one) for what, one in found if one is not None]
    return sorted(there, key=lambda one: one[1].submitted, reverse=True)


def needed_submission(store: Store, study: dict[str, Any]) -> Submission:
    """Raises BadInput where the study was not submitted; its smoke run does not count."""
    found = submission_of(store, study)
    if found is None:
        raise not_submitted(store)
    return found


def not_submitted(store: Store) -> BadInput:
    return BadInput("this study was not submitted", file=store.where, allowed="`switchpoint submit` first")
