"""Which runs of Kubeflow Pipelines a study has, kept in its store: the newest, and the newest smoke run before it."""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from switchpoint.components.recipe.deciding import NOT_DECIDING
from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.location import remove_files
from switchpoint.components.store.plan_file import Planned, load_plan
from switchpoint.components.store.store import Store, read_json

OF_NO_OUTPUT = NOT_DECIDING["Recipe"] - {"name", "catalogue", "halving"}
"""The fields of a study that may change while it runs. Its name is that of its experiments; what a catalogue stands for
decides outputs; with halving it cannot be submitted."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    run_id: str
    """Empty: the server did not answer in time; the run is there under its name, or was never made."""
    name: str = ""
    """The run's display name, which no other run has."""
    experiment: str = ""
    """The experiment of Kubeflow Pipelines: named after the study, or its smoke run."""
    kfp_url: str
    """The server's URL. Empty: from inside the cluster."""
    version: str
    """The name of the pipeline's version."""
    plan: str
    """The reference of the plan that the run's first task writes."""
    submitted: str
    """The time of the submission: UTC, ISO 8601."""
    budget: str | None = None
    """The budget as it was given with the command; None: it was not."""
    cancelled: bool = False
    """Whether `switchpoint cancel` ended it: the backend calls such a run FAILED."""
    earlier: Sequence[str] = ()
    """The ids of the runs that this one replaced, oldest first: Jobs of theirs may still run."""

    def planned(self) -> Planned | None:
        """Return what the run's first task has planned; None where it has not yet, or an older one has not either."""
        try:
            return load_plan(self.plan)
        except RuntimeError:
            return None

    @property
    def run_ids(self) -> list[str]:
        return [*self.earlier, *filter(None, [self.run_id])]


def _path(study: dict[str, Any], smoke: bool) -> str:
    return f"submissions/{digest_of(_deciding(study))}{'.smoke' if smoke else ''}.json"


def _deciding(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study, as written, without what decides no output: it stays the same study where that is changed."""
    training = _without(study.get("training") or {}, NOT_DECIDING["Training"])
    changed = {"model": _deciding_base(study.get("model")), "training": training}
    if isinstance(bases := study.get("bases"), dict):
        changed["bases"] = {name: _deciding_base(base) for name, base in bases.items()}
    return {name: value for name, value in (study | changed).items() if name not in OF_NO_OUTPUT}


def _deciding_base(base: Any) -> Any:
    if isinstance(base, dict) and "pretrain" in base:
        return base | {"pretrain": _without(base["pretrain"], NOT_DECIDING["Pretrain"])}
    return base


def _without(section: Any, fields: Collection[str]) -> Any:
    """Return a section of a recipe without some fields; what is no section as it is."""
    if not isinstance(section, dict):
        return section
    return {name: value for name, value in section.items() if name not in fields}


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
        remove_files(f"{store.location}/{folder}", [name])


def submission_of(store: Store, study: dict[str, Any], *, smoke: bool = False) -> Submission | None:
    """Return the newest submission of this very study; a changed recipe is another one."""
    found = read_json(f"{store.location}/{_path(study, smoke)}")
    return None if found is None else Submission(**found)


def submissions_of(store: Store, study: dict[str, Any]) -> list[tuple[str, Submission]]:
    """Return what they run, `study` or `smoke`, the newest first."""
    found = [("study", submission_of(store, study)), ("smoke", submission_of(store, study, smoke=True))]
    there = [(what, one) for what, one in found if one is not None]
    return sorted(there, key=lambda one: one[1].submitted, reverse=True)


def needed_submission(store: Store, study: dict[str, Any]) -> Submission:
    """Return the submission. Raise BadInput if the study was not submitted; its smoke run does not count."""
    found = submission_of(store, study)
    if found is None:
        raise not_submitted(store)
    return found


def not_submitted(store: Store) -> BadInput:
    return BadInput("this study was not submitted", file=store.location, allowed="`switchpoint submit` first")
