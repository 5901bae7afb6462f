"""Which runs of Kubeflow Pipelines a study has, kept in its store: the newest, and the newest smoke run before it."""

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
    """Empty: from inside the cluster."""
    version: str
    """Of the pipeline."""
    plan: str
    """The place of the plan that the run's first task writes."""
    submitted: str


def _path(study: dict[str, Any], smoke: bool) -> str:
    """A budget that was given with the command makes no other study."""
    without = {name: value for name, value in study.items() if name != "budget"}
    return f"submissions/{digest_of(without)}{'.smoke' if smoke else ''}.json"


def save_submission(
    store: Store, study: dict[str, Any], run_id: str, kfp_url: str, version: str, plan: str, *, smoke: bool = False
) -> Submission:
    submitted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    submission = Submission(run_id=run_id, kfp_url=kfp_url, version=version, plan=plan, submitted=submitted)
    store.write(_path(study, smoke), asdict(submission))
    return submission


def submission_of(store: Store, study: dict[str, Any], *, smoke: bool = False) -> Submission | None:
    """The newest one of this very study; a changed recipe is another one."""
    found = read_json(f"{store.where}/{_path(study, smoke)}")
    return None if found is None else Submission(**found)


def submissions_of(store: Store, study: dict[str, Any]) -> list[tuple[str, Submission]]:
    """What they run, `study` or `smoke`, the newest first."""
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
