"""Gates in the plan: what decides a digest, what a decided gate changes, and what is refused."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.gate import GateScores
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of

GATE = {"score": "bits_per_byte", "at_most": 2.0, "check_at": [0.5, 1]}


def planned(study: dict[str, Any], scores: GateScores | None = None, **changes: Any) -> Plan:
    recipe = parse_recipe(deepcopy(study) | changes, "recipe.yaml")
    digests = {origin_of(source): "content" for source in recipe.sources.values()}
    return expand(recipe, digests, "recipe.yaml", gate_scores=scores)


def gated(study: dict[str, Any], phase: str = "gb", **gate: Any) -> dict[str, Any]:
    """The study with two arms: `gated`, whose phase has a gate, and `plain`."""
    patch = {"phases": {phase: {"gate": GATE | gate}}}
    return study | {"switch": {"steps": 20}, "arms": {"gated": patch, "plain": {}}}


def decided(plan: Plan, values: Mapping[int, float], arm: str = "gated") -> GateScores:
    """Scores at the checks of the arm's runs."""
    runs = [plan.run(identity.digest) for identity in plan.arm(arm).runs]
    return {
        run.identity.digest: {check.step: values[check.step] for check in run.checks if check.step in values}
        for run in runs
    }


def same(one: Any, other: Any) -> bool:
    """Whether two arms or stages are alike: clocks are compared by what they are made of."""
    return replace(one, clock=other.clock) == other and one.clock.stretches == other.clock.stretches


def test_a_gate_is_in_the_digest_of_its_phase_and_of_what_follows(study: dict[str, Any]) -> None:
    plan = planned(gated(study))
    with_gate, plain = plan.arm("gated"), plan.arm("plain")
    assert [one == other for one, other in zip(with_gate.runs, plain.runs, strict=True)] == [False, False]
    assert plan.arm("plain").runs == planned(study, switch={"steps": 20}).arm("switched").runs
    assert "gate" not in plan.run(plain.runs[0].digest).identity.config
    config = plan.run(with_gate.runs[0].digest).identity.config["gate"]
    assert (config["score"], config["at_most"], config["steps"]) == ("bits_per_byte", 2.0, [10, 20])
    as_floats = gated(study, at_most=2, check_at=[0.5, 1.0])  # as KFP hands numbers on
    assert planned(as_floats).arm("gated").runs == with_gate.runs


def test_what_measures_the_score_decides_a_gated_phase_and_no_other(study: dict[str, Any]) -> None:
    def runs(**evaluation: Any) -> tuple[Any, Any]:
        plan = planned(gated(study), evaluation=study["evaluation"] | evaluation)
        return plan.arm("gated").runs, plan.arm("plain").runs

    with_gate, plain = runs()
    other, same = runs(bytes_per_source=5000)
    assert all(one != another for one, another in zip(with_gate, other, strict=True))
    assert plain == same
    assert runs(suites=["quickstart", "retention"]) == (with_gate, plain)  # of no use to bits per byte
    assert runs(metric="accuracy") == (with_gate, plain)


def test_before_it_is_decided_a_gate_changes_no_figure(study: dict[str, Any]) -> None:
    plan = planned(gated(study))
    arm, plain = plan.arm("gated"), plan.arm("plain")
    assert [(one.start_step, one.end_step, one.samples) for one in arm.phases] == [
        (one.start_step, one.end_step, one.samples) for one in plain.phases
    ]
    gb = plan.run(arm.runs[0].digest)
    assert (gb.keep_steps, gb.export_steps) == ((10, 20), (10, 20))
    assert [(check.step, check.evaluation.inputs["model"].config["step"]) for check in gb.checks] == [
        (10, 10),
        (20, 20),
    ]
    assert plan.may_end_early
    assert {check.evaluation.digest for check in gb.checks} < plan.evaluations().keys()
    assert arm.gates[0].described == "gate of gb: bits_per_byte at most 2, checked at step 10, 20"


def test_where_a_gate_holds_early_what_follows_is_as_planned_and_starts_from_there(study: dict[str, Any]) -> None:
    before = planned(gated(study))
    plan = planned(gated(study), decided(before, {10: 2.0}))
    arm = plan.arm("gated")
    assert arm.runs == before.arm("gated").runs
    gb, qb = (plan.run(identity.digest) for identity in arm.runs)
    assert (gb.stage.end_step, gb.keep_steps, gb.export_steps, all(check.is_decided for check in gb.checks)) == (
        10,
        (10,),
        (10,),
        True,
    )
    assert (qb.stage.start_step, qb.parent_step, qb.parent) == (20, 10, gb.identity)
    assert arm.phases[1] == before.arm("gated").phases[1]
    assert arm.learning_rates(arm.phases[1]) == before.arm("gated").learning_rates(arm.phases[1])
    assert same(qb.stage, before.run(qb.identity.digest).stage)
    assert (arm.phases[0].end_step, arm.phases[0].tokens, arm.phases[0].num_samples) == (10, 1280, 40)
    assert (arm.trained_tokens, arm.horizon_tokens) == (3840, 5120)
    assert before.tokens_shared - plan.tokens_shared == 1280
    assert not plan.may_end_early
    assert not arm.stopped
    assert arm.gates[0].described == (
        "gate of gb: bits_per_byte 2, allowed at most 2, held at step 10; 1,280 of the phase's 2,560 tokens were not "
        "trained"
    )


def test_a_gate_that_holds_at_the_end_of_the_budget_skips_nothing(study: dict[str, Any]) -> None:
    before = planned(gated(study))
    plan = planned(gated(study), decided(before, {10: 2.1, 20: 1.9}))
    assert plan.arm("gated").trained_tokens == 5120
    assert plan.tokens_shared == before.tokens_shared
    assert not plan.may_end_early
    assert not plan.arm("gated").stopped


def test_an_arm_ends_at_a_gate_that_does_not_hold(study: dict[str, Any]) -> None:
    before = planned(gated(study))
    assert planned(gated(study), decided(before, {10: 2.5})).may_end_early
    plan = planned(gated(study), decided(before, {10: 2.5, 20: 2.31}))
    arm = plan.arm("gated")
    assert arm.stopped == "gate of gb: bits_per_byte 2.31, allowed at most 2, at step 20"
    assert arm.runs == before.arm("gated").runs[:1]
    assert (arm.horizon_steps, arm.horizon_tokens, [phase.name for phase in arm.phases]) == (20, 2560, ["gb"])
    assert arm.evaluation == plan.run(arm.gb_run.digest).checks[-1].evaluation
    assert same(plan.arm("plain"), before.arm("plain"))
    assert before.tokens_shared - plan.tokens_shared == 2560
    assert plan.report.digest != before.report.digest


def test_what_is_not_a_number_does_not_hold(study: dict[str, Any]) -> None:
    for bound in ({"at_most": 2.0}, {"at_most": None, "at_least": 0.0}):
        recipe = gated(study, **bound)
        plan = planned(recipe, decided(planned(recipe), {10: float("nan"), 20: float("nan")}))
        assert plan.arm("gated").stopped


def test_at_least_is_the_other_direction(study: dict[str, Any]) -> None:
    recipe = gated(study, score="accuracy", at_most=None, at_least=0.5)
    before = planned(recipe)
    assert planned(recipe, decided(before, {10: 0.5})).arm("gated").trained_tokens == 3840
    assert (
        planned(recipe, decided(before, {10: 0.4, 20: 0.49}))
        .arm("gated")
        .stopped.endswith("accuracy 0.49, allowed at least 0.5, at step 20")
    )


def test_a_phase_in_two_pieces_of_the_schedule_may_end_in_the_first(study: dict[str, Any]) -> None:
    recipe = gated(
        study | {"schedule": {"kind": "wsd", "warmup_tokens": 640, "decay_fraction": 0.75}}, check_at=[0.2, 0.4, 1]
    )
    before = planned(recipe)
    runs = [before.run(identity.digest) for identity in before.arm("gated").runs]
    checks = [[check.step for check in run.checks] for run in runs]
    assert [step for steps in checks for step in steps] == [4, 8, 20]
    assert len([run for run in runs if len(run.stage.phases) == 1]) > 1
    plan = planned(recipe, decided(before, {4: 3.0, 8: 1.0}))
    left = [plan.run(identity.digest) for identity in plan.arm("gated").runs]
    held = next(run for run in left if 8 in [check.step for check in run.checks])
    assert held.stage.end_step == 8
    following = left[left.index(held) + 1]
    assert (following.stage.start_step, following.parent, following.parent_step) == (20, held.identity, 8)
    assert plan.arm("gated").trained_tokens == (8 + 20) * 128
    assert plan.chain(following) == left


def test_a_gate_of_the_last_phase_ends_the_arm_early_and_well(study: dict[str, Any]) -> None:
    before = planned(gated(study, "qb"))
    plan = planned(gated(study, "qb"), decided(before, {30: 1.5}))
    arm = plan.arm("gated")
    assert (arm.stopped, arm.horizon_steps, arm.trained_tokens) == ("", 30, 30 * 128)
    assert arm.model.config == {"step": 30}
    assert arm.gb_run == plan.arm("plain").gb_run  # the gate is another phase's
    failed = planned(gated(study, "qb"), decided(before, {30: 3.0, 40: 2.5})).arm("gated")
    assert (failed.horizon_steps, failed.model) == (40, before.arm("gated").model)
    assert failed.stopped.startswith("gate of qb: bits_per_byte 2.5")


def test_evaluations_that_were_skipped_are_not_missed(study: dict[str, Any]) -> None:
    evaluation = study["evaluation"] | {
        "checkpoints": [0.2, 0.4, "switch", 0.75], "continual": {"every_steps": 4, "dense_steps": 2},
    }  # fmt: skip
    recipe = gated(study | {"evaluation": evaluation})
    before = planned(recipe)
    assert list(before.arm("gated").checkpoint_evaluations) == [8, 16, 20, 30]
    plan = planned(recipe, decided(before, {10: 1.0}))
    arm = plan.arm("gated")
    assert list(arm.checkpoint_evaluations) == [8, 10, 30]
    gb, qb = (plan.run(identity.digest) for identity in arm.runs)
    assert arm.checkpoint_evaluations[10] == gb.checks[0].evaluation
    assert set(arm.evaluation_steps) & set(range(11, 21)) == set()
    assert {10, 21, 22} <= set(arm.evaluation_steps)
    assert {*gb.evaluation_steps, *qb.evaluation_steps} == set(arm.evaluation_steps)
    assert same(plan.arm("plain"), before.arm("plain"))


def test_a_merge_of_a_model_that_a_gate_left_out_is_not_made(study: dict[str, Any]) -> None:
    recipe = gated(study) | {
        "merges": {
            "ends": {"of": ["plain", "gated"]},
            "switches": {"of": [{"arm": "plain", "at": "switch"}, {"arm": "gated", "at": "switch"}]},
            "middle": {"of": ["plain", {"arm": "gated", "at": 0.4}]},
        }
    }
    before = planned(recipe)
    assert [one.stopped for one in before.derived] == ["", "", ""]
    ended = planned(recipe, decided(before, {10: 3.0, 20: 3.0}))
    reason = "gated ended at a gate (gate of gb: bits_per_byte 3, allowed at most 2, at step 20)"
    assert [one.stopped for one in ended.derived] == [reason, "", ""]
    assert ended.derived[0].model not in ended.identities()
    # A fraction is one of the whole horizon, wherever the arm ended.
    assert ended.derived[2].output.stage.models == before.derived[2].output.stage.models
    assert ended.derived[0].evaluation.digest not in ended.evaluations()
    early = planned(recipe, decided(before, {10: 1.0}))
    assert [one.stopped for one in early.derived] == [
        "", "", "gated was not trained at step 16: its gate held at step 10",
    ]  # fmt: skip
    assert [model.config["step"] for model in early.derived[1].output.stage.models] == [20, 10]


def test_phases_with_a_gate_between_them_are_not_one(study: dict[str, Any]) -> None:
    recipe = gated(study) | {"qb": "prose"}
    assert [phase.name for phase in planned(recipe).arm("gated").phases] == ["gb", "qb"]
    assert [phase.name for phase in planned(recipe).arm("plain").phases] == ["gb"]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"score": "bits_per_bite"}, r"arms.gated.phases.gb.gate.score: no such score; did you mean `bits_per_byte`"),
        ({"at_least": 1.0}, r"arms.gated.phases.gb.gate: give one of `at_most:` or `at_least:`, not at_most and"),
        ({"at_most": None}, r"arms.gated.phases.gb.gate: give one of `at_most:` or `at_least:`"),
        ({"check_at": [0.5]}, r"arms.gated.phases.gb.gate.check_at: .*the last one is 1"),
        ({"check_at": [0, 1]}, r"arms.gated.phases.gb.gate.check_at: .*above 0"),
        ({"check_at": [0.5, 0.25, 1]}, r"arms.gated.phases.gb.gate.check_at: .*rising"),
        ({"chek_at": [1]}, r"arms.gated.phases.gb.gate.chek_at: unknown key; did you mean `check_at`"),
    ],
)
def test_a_gate_that_cannot_be_checked_is_refused(study: dict[str, Any], gate: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        planned(gated(study, **gate))


def test_what_does_not_go_together_with_gates_is_refused(study: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"arms.gated.phases.gb.gate: `halving:` also ends arms early"):
        planned(gated(study), halving={"at": [0.5]})
    recipe = gated(study)
    recipe["arms"]["gated"]["switch"] = {"steps": 0}
    with pytest.raises(BadInput, match=r"arms.gated.phases.gb.gate: arm gated does not train this phase"):
        planned(recipe)
