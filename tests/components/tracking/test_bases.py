"""A study of several bases in MLflow: what names a run, and what it says."""

from typing import Any

from switchpoint.components.tracking.notes import Link, base_note
from switchpoint.components.tracking.params import deciding_params, flat_recipe, gb_params, runnable_study
from switchpoint.components.tracking.study import row_key
from tests.components.recipe.test_bases import HALF, SAME, planned

ARMS = {"one": {}, "two": {"base": "half"}, "three": {"base": "same", "start": "fresh"}}


def test_params_and_keys_are_of_the_arms_own_base(study: dict[str, Any]) -> None:
    alone = planned(study, arms={"one": {}})
    plan = planned(study, bases={"half": HALF, "same": SAME}, arms=ARMS)
    base, half, same = (plan.bases[name] for name in ("base", "half", "same"))
    digests = [base.output.identity.digest, half.model.digest, same.output.identity.digest]
    assert [flat_recipe(plan, arm)["base"] for arm in plan.arms] == digests
    assert [gb_params(plan, plan.run(arm.gb_run.digest))["base"] for arm in plan.arms] == digests
    rows = [deciding_params(plan, one) for one in (base, half, same)]
    assert [(row["arm"], row["base"]) for row in rows] == list(zip(("base", "half", "same"), digests, strict=True))
    # What was there before the study had several bases keeps its run.
    assert row_key(plan, "base", None) == row_key(alone, "base", None)
    assert row_key(plan, "one", plan.arm("one")) == row_key(alone, "one", alone.arm("one"))
    assert len({row_key(plan, name, None) for name in plan.bases}) == 3


def test_an_arm_of_another_base_is_a_study_by_itself(study: dict[str, Any]) -> None:
    plan = planned(study, bases={"half": HALF, "same": SAME}, arms=ARMS)
    written = runnable_study(plan, plan.arm("two"))
    again = planned({name: value for name, value in written.items() if value is not None})
    assert [run.identity for run in again.runs] == [plan.run(run.digest).identity for run in plan.arm("two").runs]
    assert list(again.bases) == ["base", "half"]


def test_a_base_says_what_it_is(study: dict[str, Any]) -> None:
    plan, link = planned(study, bases={"half": HALF}, arms={"two": {"base": "half"}}), Link("study", "1", "2")
    said = base_note(plan.bases["half"], plan, link)
    assert said == f"Base after 50% of its pretraining. two of {link} start from it.\n"
    assert "no arm starts from it" in base_note(plan.bases["base"], plan, link)
