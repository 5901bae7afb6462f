"""A study with a merge, from its recipe to its report."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from switchpoint.components.recipe.load import load_study
from switchpoint.components.train.outputs import fetch_model
from switchpoint.pipelines.commands.rungs import current_rung
from tests.conftest import switchpoint
from tests.pipelines.conftest import Finished


def test_a_merge_that_is_added_to_a_study_trains_nothing_and_is_a_row_like_an_arm(
    copied: Callable[[], Finished],
) -> None:
    study = copied()
    recipe = yaml.safe_load(study.recipe.read_text())
    recipe["merges"] = {"soup": {"of": ["prose", {"arm": "switched", "at": "switch"}], "weights": [0.25, 0.75]}}
    added = study.recipe.with_name("merged.yaml")
    added.write_text(yaml.safe_dump(recipe, sort_keys=False))
    before = {path: path.stat().st_mtime_ns for path in study.root.glob("phase/*/metrics.jsonl")}
    ended = switchpoint("run", added, "--store", study.root, "--json")
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    (row,) = [row for row in outcome["rows"] if row["name"] == "soup"]
    assert row["scores"]["bits_per_byte"]["value"] > 0
    assert row["mlflow_run"]
    assert "merge of 0.25 prose, 0.75 switched at its switch" in Path(outcome["report"]).read_text()
    plan = current_rung(load_study(added), str(added), str(study.root)).plan
    (soup,) = plan.derived
    states = [
        load_file(fetch_model(plan, study.store, model) / "model.safetensors")
        for model in (*soup.output.stage.models, soup.model)
    ]
    for name, merged in states[2].items():
        expected = 0.25 * states[0][name].double() + 0.75 * states[1][name].double()
        assert torch.equal(merged, expected.to(merged.dtype))
    # Only the export at the switch was left to make: no step was trained again.
    after = {path: path.read_text().count("\n") for path in before}
    assert sum(after.values()) * 128 == plan.tokens_shared
    again = switchpoint("run", added, "--store", study.root)
    assert "nothing is left to do" in again.stdout + again.stderr
