"""The folders of bases, checked before anything is tokenized or trained: another's model may hold anything."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from switchpoint.components.plan.base_config import MASKING, num_positions, read_base_config
from switchpoint.components.plan.base_weights import check_values, check_weights
from switchpoint.components.plan.weight_files import stored_weights
from switchpoint.components.recipe.bases import field_of
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.plan import Plan


@dataclass(frozen=True)
class CheckedFolder:
    """A folder whose model can be trained."""

    model_type: str
    positions: int | None
    """The longest sequence that the model reads; None: any."""


def check_base_folders(plan: Plan, digests: dict[str, str], recipe_file: str) -> None:
    """Raise BadInput, with all that is found, for bases from folders that would be trained wrongly or not at all.

    `digests`: the content of each folder.
    """
    problems: list[BadInput] = []
    for base, model in plan.recipe.base_models().items():
        if not model.folder:
            continue
        try:
            checked = checked_folder(model.folder, digests[model.folder])
        except BadInput as error:
            where = f"{field_of(base)}.folder" + (f": {error.field}" if error.field else "")
            problems.append(error.at(error.file, where))
            continue
        problems += _too_long(plan, base, checked.positions, recipe_file)
        if plan.recipe.document_mask and checked.model_type not in MASKING:
            problems.append(
                BadInput(
                    "the family is not known to keep attention within a document", file=recipe_file,
                    field="document_mask", given=f"model_type: {checked.model_type} ({model.folder})",
                    allowed=f"`document_mask: false`, or a model of {', '.join(MASKING)}",
                )
            )  # fmt: skip
    raise_all(problems)


@lru_cache(maxsize=64)
def checked_folder(folder: str, digest: str) -> CheckedFolder:
    """Return what is known of a folder whose model can be trained. Raise BadInput for any other.

    `digest`: the folder's content, so that a command that plans several times reads the weights once.
    """
    path = Path(folder)
    config = read_base_config(path)
    positions = num_positions(config, path)
    stored = stored_weights(path)
    check_values(check_weights(config, stored, path), stored, path)
    return CheckedFolder(config.model_type, positions)


def _too_long(plan: Plan, base: str, positions: int | None, recipe_file: str) -> list[BadInput]:
    """Return a problem for each phase that is longer than its base's positions."""
    found: dict[str, BadInput] = {}
    if positions is None:
        return []
    for arm in plan.arms:
        if plan.lineage(plan.base_of(arm))[0].name != base:
            continue
        for phase in arm.phases:
            if phase.sequence_length > positions:
                given = f"{phase.sequence_length:,} in phase {phase.name} of {arm.run_name}"
                problem = BadInput(
                    "longer than the model's positions, and nothing extends them", file=recipe_file,
                    field=_field_of_length(plan, arm.arm_id, phase.name), given=given,
                    allowed=f"at most {positions:,} ({plan.bases[base].origin.folder})",
                )  # fmt: skip
                found.setdefault(phase.name, problem)
    return list(found.values())


def _field_of_length(plan: Plan, arm: str, phase: str) -> str:
    written = (plan.recipe.phases or {}).get(phase)
    return f"phases.{phase}.sequence_length" if written and written.sequence_length else f"arms.{arm}"
