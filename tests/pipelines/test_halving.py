"""Successive halving through the command: who stops, who goes on, what is trained, what the report says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import load_study
from switchpoint.components.store.store import Store, read_json, write_json
from switchpoint.pipelines.commands.rungs import current_rung
from tests.conftest import losses, switchpoint

Study = dict[str, Any]


def test_decisions_are_replayed_from_the_scores(
    study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path]
) -> None:
    """Made-up scores at the point: `mixed` is the worst of three, so two go on; a failed arm is not waited for."""
    study["halving"] = {"at": [0.5], "keep": 0.5}
    recipe = write_recipe(study)
    data, store = load_study(recipe), Store(tmp_path / "store")
    first = current_rung(data, str(recipe), store.root)
    assert not first.is_last
    assert {arm.horizon_steps for arm in first.plan.arms} == {20}
    assert first.most_tokens == first.whole.tokens_shared  # `mixed` first, and two that have not parted yet
    scores = {"prose": 2.0, "mixed": 3.0, "switched": 2.0}
    for arm in first.plan.arms:
        folder = store.local_folder(arm.evaluation)
        folder.mkdir(parents=True, exist_ok=True)
        score = {"value": scores[arm.arm_id], "stderr": 0.1, "n": 4}
        write_json(folder / "record.json", {"outputs": {"scores": {"bits_per_byte": score}}})
    last = current_rung(data, str(recipe), store.root)
    assert last.is_last
    assert {arm.arm_id: arm.horizon_steps for arm in last.plan.arms} == {"prose": 40, "mixed": 20, "switched": 40}
    assert last.plan.arm("mixed").stopped == "bits/byte 3.0000 at 50% of its horizon: place 3 of 3, and 2 went on"
    assert current_rung(data, str(recipe), store.root).stops == last.stops
    # Failed instead: tried again by a new command first, given up after it.
    evaluation = first.plan.arm("mixed").evaluation
    (store.local_folder(evaluation) / "record.json").unlink()
    store.write_failure(evaluation, "no memory", "log")
    assert not current_rung(data, str(recipe), store.root, give_up_failed=False).is_last
    given_up = current_rung(data, str(recipe), store.root).plan.arm("mixed")
    assert given_up.stopped == "it had no bits/byte at 50% of its horizon"


def test_a_score_that_nothing_has_is_refused(
    study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path]
) -> None:
    recipe = write_recipe(study | {"halving": {"at": [0.5], "metric": "bits_per_bite"}})
    with pytest.raises(BadInput, match=r"halving.metric.*did you mean `bits_per_byte`"):
        current_rung(load_study(recipe), str(recipe), tmp_path / "store")


@pytest.mark.slow
def test_a_study_with_halving(study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path]) -> None:
    recipe, root = write_recipe(study | {"halving": {"at": [0.8]}}), tmp_path / "store"
    refused = switchpoint("run", recipe, "--store", root, "--budget", "12000")
    assert refused.returncode == 2
    assert "at most" in refused.stderr
    assert not root.exists()
    ended = switchpoint("run", recipe, "--store", root, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    outcome = json.loads(ended.stdout)
    stopped = [row for row in outcome["rows"] if row["stopped"]]
    assert len(stopped) == 1
    assert "place 3 of 3" in stopped[0]["stopped"]
    assert stopped[0]["arm"] not in (outcome["comparisons"][0]["best"], *(
        one["arm"] for one in outcome["comparisons"][0]["against"]
    ))  # fmt: skip
    page = Path(outcome["report"]).read_text()
    assert f"{stopped[0]['arm']} was stopped: bits/byte" in page
    plan = current_rung(load_study(recipe), str(recipe), root).plan
    trained = sum(len(rows) for name, rows in losses(root).items() if not name.startswith("base"))
    assert trained * 128 == plan.tokens_shared
    again = switchpoint("run", recipe, "--store", root)
    assert "nothing is left to do" in again.stdout
    assert read_json(Path(outcome["report"]).parent / "report.json")["verdict"] == outcome["verdict"]
