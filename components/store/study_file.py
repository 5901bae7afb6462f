"""A large study handed to the pipeline as a file of the store.

A task gets its parameters as one argument of a command, which Linux bounds at 128 KiB: on one machine and in a pod.
"""

import json
from typing import Any

from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.location import read_json
from switchpoint.components.store.store import Store

MAX_BYTES = 64 * 1024
"""A study, with the steps where its arms stop, that is larger is handed over as a file. KFP may write each character of
another alphabet, and each quote, with more bytes than it has here."""
STUDY_FILE = "study_file"


def handed_over(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the pipeline's parameters, with a reference in place of a large study and its stops (pure)."""
    if _num_bytes(parameters) <= MAX_BYTES:
        return parameters
    reference = f"{parameters['store']}/{_path(parameters)}"
    return parameters | {"study": {STUDY_FILE: reference}, "stops": {}}


def hand_over(parameters: dict[str, Any], store: Store) -> dict[str, Any]:
    """Return the pipeline's parameters, after a large study was written to the store."""
    passed = handed_over(parameters)
    if passed is not parameters:
        store.write(_path(parameters), {"study": parameters["study"], "stops": parameters["stops"]})
    return passed


def check_size(parameters: dict[str, Any]) -> None:
    """Raise BadInput for a study that is too large to be typed into Kubeflow's page."""
    if handed_over(parameters) is not parameters:
        raise BadInput(
            "the study is too large for a parameter of the pipeline", field="--study",
            given=f"{_num_bytes(parameters):,} bytes",
            allowed=f"{MAX_BYTES:,} bytes; `switchpoint submit` hands a larger study over as a file of the store",
        )  # fmt: skip


def taken_over(study: dict[str, Any], stops: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the study and its stops, read from the store where they are a reference. Raise RuntimeError where the file
    is missing.
    """
    if set(study) != {STUDY_FILE}:
        return study, stops
    found = read_json(study[STUDY_FILE])
    if found is None:
        raise RuntimeError(f"the study's file is missing in the store: {study[STUDY_FILE]}")
    return found["study"], found["stops"]


def _num_bytes(parameters: dict[str, Any]) -> int:
    return len(json.dumps([parameters["study"], parameters["stops"]]))


def _path(parameters: dict[str, Any]) -> str:
    return f"studies/{digest_of({'study': parameters['study'], 'stops': parameters['stops']})}.json"
