"""Several bases: what each is made of, what arms share, and what is refused."""

from copy import deepcopy
from typing import Any

import pytest

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of
from switchpoint.components.recipe.stage import Train, Transform

HALF, SAME = {"checkpoint": 0.5}, {"transform": {"kind": "copy"}}
FOLDER = {"tokenizer": {"folder": "other"}, "schedule": {"max_learning_rate": 1e-3}}


def planned(study: dict[str, Any], **changes: Any) -> Plan:
    recipe = parse_recipe(deepcopy(study) | changes, "recipe.yaml")
    digests = {origin_of(source): "content" for source in recipe.sources.values()} | {
        "other": "o",
        "tokenizer other": "t",
    }
    return expand(recipe, digests, "recipe.yaml")


def other(study: dict[str, Any]) -> dict[str, Any]:
    """Return a base of another shape, pretrained like the study's own."""
    model = deepcopy(study["model"])
    model["architecture"]["ffn_size"] = 96
    return dict(model)


def test_bases_that_no_arm_starts_from_change_no_output(study: dict[str, Any]) -> None:
    without, beside = planned(study), planned(study, bases={"half": HALF, "same": SAME, "other": other(study)})
    assert list(beside.bases) == ["base"]
    paths = [[one.path for one in plan.identities() if one.kind != "report"] for plan in (without, beside)]
    assert paths[0] == paths[1]
    assert [one.keep_steps for one in beside.base_outputs.values()] == [(40,)]


def test_a_checkpoint_is_kept_by_the_pretraining_that_trains_on(study: dict[str, Any]) -> None:
    plan = planned(study, bases={"half": HALF}, arms={"whole": {}, "early": {"base": "half"}})
    base, half = plan.bases["base"], plan.bases["half"]
    assert isinstance(base.output.stage, Train)
    assert (base.step, half.step) == (40, 20)
    assert half.output == base.output
    assert half.output.keep_steps == half.output.export_steps == (20, 40)
    assert half.model.inputs["run"] == base.output.identity == planned(study).base
    assert half.model != base.model
    whole, early = plan.arm("whole"), plan.arm("early")
    assert plan.run(whole.gb_run.digest).identity.inputs["from"] == base.output.identity
    assert plan.run(early.runs[0].digest).identity.inputs["from"] == half.model
    # The minimum learning rate is the pretraining's, as for the whole base.
    assert early.schedule == whole.schedule


def test_arms_share_gb_where_they_share_the_base(study: dict[str, Any]) -> None:
    arms = {"a": {}, "b": {"qb": "prose"}, "c": {"base": "half"}, "d": {"base": "half", "qb": "prose"}}
    plan = planned(study, bases={"half": HALF}, arms=arms)
    gb = {name: plan.arm(name).gb_run for name in arms}
    assert gb["a"] == gb["b"]
    assert gb["c"] == gb["d"]
    assert gb["a"] != gb["c"]
    assert gb["a"] in [run.identity for run in planned(study).gb_runs]
    assert gb["c"] not in [run.identity for run in planned(study).gb_runs]
    assert [plan.base_of(run).name for run in plan.gb_runs] == ["base", "half"]


def test_a_transform_is_an_output_made_of_its_base_and_evaluated(study: dict[str, Any]) -> None:
    bases = {"again": {"transform": {"kind": "copy", "of": "same"}}, "same": SAME}
    plan = planned(study, bases=bases, start="fresh", arms={"one": {"base": "again"}})
    again, same = plan.bases["again"], plan.bases["same"]
    assert list(plan.bases) == ["base", "same", "again"]
    assert isinstance(again.output.stage, Transform)
    assert (again.output.identity.kind, again.output.identity.config) == ("transform", {"kind": "copy"})
    assert again.output.stage.model == same.model == same.output.identity
    assert same.output.identity.inputs["model"] == plan.bases["base"].model
    assert [one.name for one in plan.lineage(again)] == ["base", "same", "again"]
    # It keeps what its weights learnt: the blend that they know, and the minimum learning rate.
    assert again.pretraining == plan.bases["base"].pretraining
    found = plan.evaluations()
    assert all(found[base.evaluation.digest] == (base.model, base.evaluation) for base in plan.bases.values())
    paths = [identity.path for identity in plan.identities()]
    order = [plan.base.path, same.output.identity.path, again.output.identity.path, plan.arm("one").runs[0].path]
    assert sorted(order, key=paths.index) == order


def test_the_report_is_made_of_the_evaluations_of_all_bases(study: dict[str, Any]) -> None:
    arms = {"one": {"base": "early"}}
    plan = planned(study, bases={"early": HALF}, arms=arms)
    made_of = {evaluation.digest for evaluation in plan.report.inputs.values()}
    assert {base.evaluation.digest for base in plan.bases.values()} <= made_of
    assert plan.report != planned(study, bases={"early": {"checkpoint": 0.25}}, arms=arms).report


def test_a_base_by_itself_is_pretrained_too_and_its_blend_is_made(study: dict[str, Any]) -> None:
    small = other(study)
    small["pretrain"]["blend"] = "mixed"
    plan = planned(study, bases={"small": small, "early": HALF | {"of": "small"}}, arms={"one": {"base": "early"}})
    assert list(plan.pretrainings) == ["base", "small"]
    assert plan.bases["early"].output == plan.bases["small"].output
    assert plan.pretrainings["small"].stage.phase.blend_identity.digest in plan.blends
    assert plan.label(plan.pretrainings["small"].identity) == "small"
    assert plan.base_of(plan.arm("one")).origin.architecture is not None


def test_a_grid_names_bases(study: dict[str, Any]) -> None:
    plan = planned(study, bases={"half": HALF}, arms={}, grid={"base": {"whole": "base", "early": "half"}})
    assert [(arm.arm_id, arm.base) for arm in plan.arms] == [("whole", "base"), ("early", "half")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"one": {"base": "hlf"}}}, r"arms\.one\.base: no such base; did you mean `half`"),
        ({"grid": {"base": {"x": "hlf"}}}, r"grid\.base\.x: no such base; did you mean `half`"),
        ({"bases": {"half": HALF | {"of": "bas"}}}, r"bases\.half\.of: no such base; did you mean `base`"),
        (
            {"bases": {"same": {"transform": {"kind": "copy", "of": "bse"}}}},
            r"bases\.same\.transform\.of: no such base; did you mean `base`",
        ),
        ({"bases": {"base": HALF}}, r"`bases:` has no `base`"),
        ({"bases": {"half": {"checkpoint": 1}}}, r"bases\.half\.checkpoint: .*above 0 and below 1"),
        ({"bases": {"half": {"checkpoint": "x"}}}, r"bases\.half\.checkpoint: .*above 0 and below 1"),
        ({"bases": {"half": HALF | {"off": "base"}}}, r"bases\.half\.off: unknown key; did you mean `of`"),
        ({"bases": {"same": {"transform": {"kind": "cpy"}}}}, r"bases\.same\.transform\.kind: no such value; .*`copy`"),
        ({"bases": {"half": {}}}, r"bases\.half: "),
        ({"bases": {"mixed": HALF}}, r"bases\.mixed: the name is that of another row"),
        (
            {"bases": {name: {"transform": {"kind": "copy", "of": of}} for name, of in ("ab", "ba")}},
            r"bases\.a\.transform\.of: the base is made of itself(?s:.*)a of b of a",
        ),
        (
            {"bases": {"same": SAME, "half": HALF | {"of": "same"}}},
            r"bases\.half\.of: a checkpoint is one of a pretraining(?s:.*)allowed: base",
        ),
        (
            {"bases": {"same": SAME}, "arms": {"one": {"base": "same"}}},
            r"arms\.one\.base: the recipe's `start: new_schedule`: .*same is a transform, which has only weights",
        ),
        (
            {"bases": {"same": SAME}, "start": "fresh", "arms": {"one": {"base": "same", "start": "new_schedule"}}},
            r"arms\.one\.start: it needs the base's optimizer state, and same is a transform",
        ),
        (
            FOLDER | {"bases": {"theirs": {"folder": "other"}}, "arms": {"one": {"base": "theirs"}}},
            r"arms\.one\.base: .*a folder has only weights",
        ),
        (
            {"bases": {"theirs": {"folder": "other"}}, "start": "fresh", "arms": {"one": {"base": "theirs"}}},
            r"tokenizer\.folder: a base from a folder needs its own tokenizer",
        ),
        (
            {"tokenizer": {"folder": "other"}, "bases": {"theirs": {"folder": "other"}}, "start": "fresh",
             "arms": {"one": {"base": "theirs"}}},
            r"schedule\.max_learning_rate: a Hugging Face folder does not tell",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_a_base_is_refused(study: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        planned(study, **({"bases": {"half": HALF}} | changes))


def test_a_folder_is_a_base_beside_a_pretrained_one(study: dict[str, Any]) -> None:
    arms = {"one": {"start": "new_schedule"}, "two": {"base": "theirs"}}
    plan = planned(study, **FOLDER, bases={"theirs": {"folder": "other"}}, start="fresh", arms=arms)
    assert [phase.start for arm in plan.arms for phase in arm.phases[:1]] == ["new_schedule", "fresh"]
    assert plan.bases["theirs"].pretraining is None
    assert plan.bases["theirs"].output.identity.config == {"content": "o"}
