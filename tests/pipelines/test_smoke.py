"""What `submit --smoke` runs first: five steps of every phase, a save and a load, at the study's own geometry."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.recipe.blend import Weights
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import SHIPPED, parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of
from switchpoint.pipelines.commands.smoke import smoke_study
from switchpoint.pipelines.commands.study_file import read_study
from tests.conftest import tiny_study

RECIPES = sorted(str(file.relative_to(SHIPPED).with_suffix("")) for file in SHIPPED.rglob("*.yaml"))


def planned(study: dict[str, Any], file: str = "") -> Plan:
    recipe = parse_recipe(study, file)
    origins = [*(str(origin_of(source)) for source in recipe.sources.values()), str(recipe.model.folder)]
    return expand(recipe, dict.fromkeys(origins, "digest"), file)


def geometry(plan: Plan) -> list[tuple[int, int, int]]:
    """(steps, sequence length, batch size) of the phases of the only arm; every one is cut from the one before."""
    (arm,) = plan.arms
    starts = [plan.run(run.digest).stage.start_step for run in arm.runs]
    assert starts == [phase.start_step for phase in arm.phases]
    assert all(run.stage.start_step in plan.run(run.parent.digest).keep_steps for run in plan.runs if run.parent)
    return [
        (phase.end_step - phase.start_step, phase.sequence_length, arm.clock.batch_size(phase.start_step))
        for phase in arm.phases
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_study_of_a_recipe_that_ships_is_ten_steps_of_its_geometry(name: str) -> None:
    """The second phase goes on from the first one's checkpoint: one save and one load."""
    study, file = read_study(name)
    whole = planned(study, file)
    small = planned(smoke_study(study, whole), file)
    (arm,) = small.arms
    assert [(phase.start_step, phase.end_step) for phase in arm.phases] == [(0, 5), (5, 10)]
    assert arm.num_gb_runs == 1
    assert small.run(arm.runs[-1].digest).stage.start_step == 5
    assert small.base.digest == whole.base.digest
    first = max(whole.arms, key=lambda one: len(one.phases))
    assert arm.clock.tokens_at(1) == first.clock.tokens_at(1)
    assert {one[1:] for one in geometry(small)} == {(whole.recipe.sequence_length, whole.recipe.batch_size)}
    for index in (0, -1):
        assert near(arm.phases[index].weights, first.phases[index].weights)
    if "table_7" not in name:  # blends by epochs have longer fractions than a recipe takes
        assert arm.phases[0].weights == first.phases[0].weights
        assert arm.phases[-1].weights == first.phases[-1].weights
    assert small.recipe.training == whole.recipe.training
    assert small.recipe.cluster == whole.recipe.cluster
    assert small.recipe.model == whole.recipe.model


def near(found: Weights, wanted: Weights) -> bool:
    assert sum(found.values()) == 1
    return found.keys() == wanted.keys() and all(abs(found[key] - wanted[key]) < Fraction(1, 10**15) for key in wanted)


def test_every_phase_has_its_own_length_and_batch(tmp_path: Path) -> None:
    study = {name: value for name, value in tiny_study(tmp_path).items() if name not in ("gb", "qb", "switch")}
    study |= {
        "phases": {
            "first": {"blend": "prose", "until": {"progress": 0.5}},
            "long": {
                "blend": "mixed", "sequence_length": 128, "until": {"progress": 0.9},
                "batch_size": {"start": 2, "end": 6, "over_tokens": 256},
            },
            "last": {"blend": "mixed", "sequence_length": 16, "batch_size": 2},
        },
        "arms": {"one": {}},
    }  # fmt: skip
    small = planned(smoke_study(study, planned(study)))
    assert geometry(small) == [(5, 32, 4), (5, 128, 6), (5, 16, 2)]


def test_an_arm_with_its_own_length_and_batch_is_run_at_them(tmp_path: Path) -> None:
    """Beside the geometry of the arm with most phases; what both have is run once."""
    study = tiny_study(tmp_path)
    study["arms"] = {"own": {"sequence_length": 64, "batch_size": 8}}
    assert geometry(planned(smoke_study(study, planned(study)))) == [(5, 64, 8), (5, 64, 8)]
    study["arms"] = {"most": {}, "wide": {"batch_size": 8}, "wide_too": {"batch_size": 8, "seed": 1}}
    assert geometry(planned(smoke_study(study, planned(study)))) == [(5, 32, 4), (5, 32, 4), (5, 32, 8)]


def test_a_single_phase_is_saved_and_loaded_too(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    study["arms"] = {"one": {"qb": study["gb"]}}
    whole = planned(study)
    assert [len(arm.phases) for arm in whole.arms] == [1]
    assert geometry(planned(smoke_study(study, whole))) == [(5, 32, 4), (5, 32, 4)]


def test_nothing_is_found_done_where_what_may_not_fit_has_changed(tmp_path: Path) -> None:
    """Processes, pods, image and version are in no digest; the base, which the study trains itself, stays."""
    study = tiny_study(tmp_path)

    def outputs(changed: dict[str, Any], *where: str) -> tuple[str, set[str]]:
        small = planned(smoke_study(study | changed, planned(study | changed), *where))
        assert small.recipe.seed is not None
        assert small.recipe.seed < 2**32
        (arm,) = small.arms
        return small.base.digest, {one.digest for one in (*arm.runs, arm.evaluation)}

    base, first = outputs({}, "image: 1", "v1")
    assert outputs({"question": "Does it fit?"}, "image: 1", "v1") == (base, first)
    changed: list[tuple[dict[str, Any], str, str]] = [
        ({"training": {"num_processes": 2}}, "image: 1", "v1"), ({"seed": 1}, "image: 1", "v1"),
        ({"training": {"micro_batch_size": 1}}, "image: 1", "v1"),
        ({"cluster": {"memory_gib_per_node": 8}}, "image: 1", "v1"),
        ({}, "image: 2", "v1"), ({}, "image: 1", "v2"),
    ]  # fmt: skip
    for one in changed:
        same_base, others = outputs(*one)
        assert same_base == base
        assert not first & others


def test_a_source_that_is_drawn_by_several_tiers() -> None:
    study, file = read_study("paper/table_9")
    study["blends"]["both"] = {"by": "share", "share": "0.3", "of": "pretraining", "rest": "uw_non_web_hq_web"}
    study |= {"gb": "both"}
    whole = planned(study, file)
    wanted = max(whole.arms, key=lambda one: len(one.phases)).phases[0].weights
    assert {"web_crawl", "web_crawl@high"} <= wanted.keys()
    assert near(planned(smoke_study(study, whole), file).arms[0].phases[0].weights, wanted)
