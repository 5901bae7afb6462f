"""What a suite needs is looked at before training, and asked from the hub only where the user lets it."""

from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate.hub import hub_environment
from switchpoint.components.evaluate.run import SuitesUnusable, check_suites
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.evaluation import Evaluation
from switchpoint.components.recipe.load import absolute_folders
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.store import Store


def checked(study: dict[str, Any], folder: Path) -> tuple[Any, Store]:
    absolute_folders(study, folder)
    root = folder / "store"
    return check_study(study, "recipe.yaml", root)[0], open_store(root)


def test_missing_data_is_found_before_training(study: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    study["evaluation"] |= {"suites": ["retention"], "data_folder": "data"}
    plan, store = checked(study, tmp_path)
    with pytest.raises(SuitesUnusable, match=r"baber/piqa, for retention.piqa \(task piqa\)"):
        check_suites(plan, store)
    assert not (store.root / "jobs" / "check-suites").exists()


def test_local_suites_need_no_check(study: dict[str, Any], tmp_path: Path) -> None:
    plan, store = checked(study, tmp_path)
    check_suites(plan, store)
    assert not (store.root / "jobs").exists()


@pytest.mark.parametrize(
    ("suites", "given", "hub", "datasets"),
    [
        (["quickstart"], {"HF_HUB_OFFLINE": "0"}, "1", "1"),
        (["retention"], {}, "0", "0"),
        (["retention"], {"HF_HUB_OFFLINE": "1"}, "1", "1"),
        (["retention"], {"TRANSFORMERS_OFFLINE": "1"}, "1", "1"),
        (["retention"], {"HF_DATASETS_OFFLINE": "1"}, "0", "1"),
        (["./mine"], {}, "0", "0"),
    ],
)
def test_the_hub_is_asked_where_a_suite_needs_it(
    suites: list[str], given: dict[str, str], hub: str, datasets: str
) -> None:
    wanted = {"HF_HUB_OFFLINE": hub, "HF_DATASETS_OFFLINE": datasets}
    assert hub_environment(Evaluation(suites=suites), given) == wanted
