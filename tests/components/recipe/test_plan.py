"""The plan: shared histories, the switch, exact counts, and what is refused."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchpoint.components.recipe.epochs import check_sources
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import load_study, parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of

QUICKSTART = Path(__file__).parents[3] / "pipelines" / "recipes" / "quickstart.yaml"


def planned(study: dict[str, Any], **changes: Any) -> Plan:
    recipe = parse_recipe(deepcopy(study) | changes, "recipe.yaml")
    return expand(recipe, {origin_of(source): "content" for source in recipe.sources.values()}, "recipe.yaml")


def test_the_arm_that_never_switches_is_the_others_history(study: dict[str, Any]) -> None:
    plan = planned(study)
    by_name = {arm.arm_id: arm for arm in plan.arms}
    assert by_name["prose"].gb_run == by_name["switched"].gb_run != by_name["mixed"].gb_run
    assert [len(arm.phases) for arm in plan.arms] == [1, 1, 2]
    assert by_name["prose"].switch_step is None
    switch = by_name["switched"].switch_step
    assert switch is not None
    shared = plan.run(by_name["prose"].gb_run.digest)
    assert (shared.stage.end_step, shared.keep_steps, shared.export_steps) == (40, (switch, 40), (40,))
    assert plan.tokens_alone == 3 * 5_120
    assert plan.tokens_shared == 2 * 5_120 + (40 - switch) * 128


def test_the_switch_is_the_first_step_at_or_below_a_fifth(study: dict[str, Any]) -> None:
    arm = planned(study).arm("switched")
    rates = [arm.schedule.learning_rate(step * 128) for step in range(40)]
    assert arm.switch_step == next(step for step, rate in enumerate(rates) if rate <= 0.2 * max(rates))
    assert arm.schedule.max_learning_rate == 1e-3  # the base's minimum
    assert arm.schedule.min_learning_rate == pytest.approx(1e-5)


def test_samples_sum_to_every_phase(study: dict[str, Any]) -> None:
    for arm in planned(study).arms:
        for phase in arm.phases:
            assert sum(phase.samples.values()) == (phase.end_step - phase.start_step) * 4
        assert arm.phases[-1].end_step == arm.horizon_steps


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"question": "another"}, {"base", "gb_run", "model", "evaluation"}),
        ({"evaluation": {"questions": 7}}, {"base", "gb_run", "model"}),
        (
            {"hardware": {"gpu": "B200", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 5}},
            {"base", "gb_run", "model", "evaluation"},
        ),
        ({"start": "fresh"}, {"base"}),
        ({"batch_size": 8}, set()),
        ({"switch": {"learning_rate_ratio": 0.5}}, {"base", "gb_run"}),
        ({"seed": 1}, {"base"}),
        ({"horizon_tokens": 6_400}, {"base"}),
        ({"sequence_length": 16}, set()),
    ],
)
def test_a_field_changes_only_what_depends_on_it(
    study: dict[str, Any], changes: dict[str, Any], same: set[str]
) -> None:
    old, new = planned(study), planned(study, **changes)
    found = {"base"} if old.base == new.base else set()
    for name in ("gb_run", "model", "evaluation"):
        if getattr(old.arm("switched"), name) == getattr(new.arm("switched"), name):
            found.add(name)
    assert found == same


def test_what_changes_only_rounding_or_place_is_in_no_digest(study: dict[str, Any]) -> None:
    changed = deepcopy(study)
    changed["model"]["pretrain"]["num_processes"] = 2
    assert planned(study).base == planned(changed).base


def test_the_names_of_blends_and_arms_are_not_in_a_training_digest(study: dict[str, Any]) -> None:
    renamed = deepcopy(study)
    renamed["blends"] = {"general": study["blends"]["prose"], "qa": study["blends"]["mixed"]}
    renamed |= {"gb": "general", "qb": "qa", "arms": {"other": {}}}
    renamed["model"]["pretrain"]["blend"] = "general"
    assert planned(renamed).arms[0].model == planned(study).arm("switched").model


@pytest.mark.parametrize(
    "switch", [{"learning_rate_ratio": 0.005}, {"learning_rate_ratio": 0.01}, {"tokens": 5_120}, {"progress": 1},
               {"steps": 40}],
)  # fmt: skip
def test_a_switch_outside_the_run_is_refused(study: dict[str, Any], switch: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"recipe.yaml: switch.\w+: the switch lies outside the run"):
        planned(study, switch=switch)


def test_every_arm_with_a_bad_switch_is_named(study: dict[str, Any]) -> None:
    study["arms"] = {"late": {"switch": {"steps": 99}}, "never": {"switch": {"learning_rate_ratio": 0.001}}, "ok": {}}
    with pytest.raises(BadInput, match=r"(?s)arms.late.switch.steps: .*arms.never.switch.learning_rate_ratio: "):
        planned(study)


def test_a_source_too_small_for_its_epochs_is_refused_with_the_numbers(study: dict[str, Any]) -> None:
    plan = planned(study)
    assert check_sources(plan, {"prose": 100_000, "answers": 100_000})["mixed"]["answers"] < 1
    with pytest.raises(BadInput, match=r"sources.answers.max_epochs: the source is too small for the epochs asked"):
        check_sources(plan, {"prose": 100_000, "answers": 100}, "recipe.yaml")
    with pytest.raises(BadInput, match=r"sources.prose: the source is too small for one sample"):
        check_sources(plan, {"prose": 32}, "recipe.yaml")


def test_the_shipped_quickstart_is_table_4_in_miniature() -> None:
    recipe = parse_recipe(load_study(QUICKSTART), str(QUICKSTART))
    plan = expand(recipe, {"python": "content"})
    assert [arm.arm_id for arm in plan.arms] == ["pretraining", "qa", "gb_then_qb"]
    assert plan.arm("pretraining").gb_run == plan.arm("gb_then_qb").gb_run
    switched = plan.arm("gb_then_qb")
    assert (switched.switch_step or 0) / switched.horizon_steps == pytest.approx(0.711, abs=0.01)
    assert [phase.blend for phase in plan.arm("gb_then_qb").phases] == ["pretraining", "qa"]


def test_two_horizons_of_wsd_share_their_stable_part(study: dict[str, Any]) -> None:
    """Pieces that agree are one history, however the schedules go on; both arms leave it at their own step."""
    study |= {"qb": "prose", "schedule": {"kind": "wsd", "warmup_tokens": 640, "decay_tokens": 1_280}}
    study["arms"] = {"short": {"horizon_tokens": 5_120}, "long": {"horizon_tokens": 10_240}}
    plan = planned(study)
    short, long = plan.arms
    assert short.num_gb_runs == len(short.runs) == 3  # warm-up, stable, decay
    assert short.runs[:2] == long.runs[:2]
    assert short.runs[2] != long.runs[2]
    stable = plan.run(short.runs[1].digest)
    assert (stable.stage.start_step, stable.stage.end_step, stable.keep_steps) == (5, 70, (30, 70))
    assert plan.tokens_alone == 15_360
    assert plan.tokens_shared == 10_240 + 1_280
    assert [run.identity for run in plan.chain(plan.run(long.runs[2].digest))] == list(long.runs)


def test_an_infinite_schedule_is_gone_on_with_from_its_constant_part(study: dict[str, Any]) -> None:
    study |= {"qb": "prose"}
    schedule = {
        "kind": "infinite", "warmup_tokens": 256, "cooldown_tokens": 512, "constant_ratio": 0.5, "anneal_tokens": 512,
    }  # fmt: skip
    study["arms"] = {name: {"schedule": schedule, "horizon_tokens": n} for name, n in (("a", 5_120), ("b", 7_680))}
    plan = planned(study)
    assert plan.arms[0].runs[:3] == plan.arms[1].runs[:3]
    assert plan.tokens_shared == 7_680 + 512


THREE = {
    "general": {"blend": "prose", "until": {"progress": 0.5}},
    "qa": {"blend": "mixed", "until": {"tokens": 4_000}},
    "long": {"blend": "mixed", "sequence_length": 64, "batch_size": 2},
}


def three_phases(study: dict[str, Any], **arms: Any) -> Plan:
    phases = {"phases": deepcopy(THREE), "arms": arms or {"only": {}}}
    return planned({name: value for name, value in study.items() if name not in ("gb", "qb")} | phases)


def test_any_number_of_phases_each_with_its_geometry(study: dict[str, Any]) -> None:
    arm = three_phases(study).arms[0]
    assert [(p.name, p.start_step, p.end_step, p.sequence_length, p.order) for p in arm.phases] == [
        ("general", 0, 20, 32, 0), ("qa", 20, 32, 32, 0), ("long", 32, 40, 64, 1),
    ]  # fmt: skip
    assert [phase.tokens for phase in arm.phases] == [2_560, 1_536, 1_024]
    assert [sum(phase.samples.values()) for phase in arm.phases] == [80, 48, 16]
    assert arm.horizon_tokens == 5_120
    assert (len(arm.runs), arm.num_gb_runs) == (3, 1)


def test_an_arm_changes_a_phase_by_its_name(study: dict[str, Any]) -> None:
    plan = three_phases(study, plain={}, early={"phases": {"qa": {"until": {"tokens": 3_000}}}})
    plain, early = plan.arms
    assert plain.runs[:2] == early.runs[:2]
    assert plan.run(plain.runs[1].digest).keep_steps == (24, 32)
    assert plan.tokens_shared == 2_560 + 1_536 + 1_024 + early.phases[2].tokens


def test_a_phase_can_begin_a_new_schedule(study: dict[str, Any]) -> None:
    """Weights (and optimizer) go on; tokens, schedule and data start at 0: seen on one axis of tokens."""
    phases = {
        "general": {"blend": "prose"},
        "again": {"blend": "prose", "start": "new_schedule", "schedule": {"kind": "linear", "max_learning_rate": 5e-4},
                  "horizon_tokens": 2_560, "until": {"learning_rate_ratio": 0.5}},
        "qa": {"blend": "mixed"},
    }  # fmt: skip
    changed = {name: value for name, value in study.items() if name not in ("gb", "qb")}
    arm = planned(changed | {"phases": phases, "arms": {"only": {}}}).arms[0]
    assert [(p.name, p.start, p.start_step, p.end_step, p.order) for p in arm.phases] == [
        ("general", "new_schedule", 0, 40, 0), ("again", "new_schedule", 40, 51, 1), ("qa", "new_data", 51, 60, 1),
    ]  # fmt: skip
    assert arm.schedule.learning_rate(5_120) == 5e-4
    assert arm.schedule.end_learning_rate(5_120) == pytest.approx(1e-5)
    assert arm.horizon_tokens == 5_120 + 2_560


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ({"a": {"blend": "prose"}, "b": {"blend": "mixed"}}, r"phases.a.until: is required"),
        ({"a": {"blend": "prose", "until": {"steps": 1}}}, r"phases.a.until: the phase runs to the horizon"),
        (
            {"a": {"blend": "prose", "until": {"steps": 9}}, "b": {"blend": "mixed", "start": "continue"}},
            r"phases.b.start: `continue` means",
        ),
        ({"a": {"blend": "prose"}, "b": {"blend": "mixed", "start": "fresh"}}, r"phases.b.schedule: is required"),
        (
            {"a": {"blend": "prose", "until": {"steps": 9}}, "b": {"blend": "mixed", "schedule": {"kind": "cosine"}}},
            r"phases.b.schedule: the schedule goes on",
        ),
        (
            {"a": {"blend": "prose", "until": {"steps": 9}}, "b": {"blend": "mixed", "until": {"steps": 9}},
             "c": {"blend": "prose"}},
            r"phases.b.until.steps: the switch lies outside",
        ),
        ({"a": {"blend": "prose", "start": "fresh"}}, r"phases.a.start: the first phase starts as"),
    ],
)  # fmt: skip
def test_phases_that_do_not_fit(study: dict[str, Any], phases: dict[str, Any], message: str) -> None:
    changed = {name: value for name, value in study.items() if name not in ("gb", "qb")}
    with pytest.raises(BadInput, match=message):
        planned(changed | {"phases": phases, "arms": {"only": {}}})


def test_a_switch_at_step_0_is_the_qb_all_along_and_shared_with_it(study: dict[str, Any]) -> None:
    study["arms"] = {"at_once": {"switch": {"learning_rate_ratio": 1}}, "mixed": {"gb": "mixed"}}
    plan = planned(study)
    assert plan.arms[0].runs == plan.arms[1].runs
    assert (plan.arms[0].switch_step, plan.arms[1].switch_step) == (0, None)
    assert plan.tokens_shared == 5_120


def test_a_grid_and_seeds(study: dict[str, Any]) -> None:
    study |= {"arms": {}, "seeds": [0, 1]}
    study["grid"] = {
        "switch": {"fifth": {"learning_rate_ratio": 0.2}, "half": {"learning_rate_ratio": 0.5}},
        "qb": {"m": "mixed", "p": "prose"},
    }  # fmt: skip
    plan = planned(study)
    assert [arm.run_name for arm in plan.arms[:3]] == ["fifth-m-seed-0", "fifth-m-seed-1", "fifth-p-seed-0"]
    assert len(plan.arms) == 8
    assert {arm.seed for arm in plan.arms} == {0, 1}
    assert len(plan.gb_runs) == 2  # one for each seed
    assert plan.base == planned(study | {"seeds": [7]}).base


def test_a_batch_ramp_is_counted_to_the_sample(study: dict[str, Any]) -> None:
    plan = planned(study, batch_size={"start": 2, "end": 6, "increment": 2, "over_tokens": 1_000})
    for arm in plan.arms:
        assert sum(sum(phase.samples.values()) for phase in arm.phases) * 32 == arm.horizon_tokens
        assert arm.horizon_tokens - 6 * 32 < 5_120 <= arm.horizon_tokens
        assert [arm.clock.batch_size(step) for step in (0, arm.horizon_steps - 1)] == [2, 6]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sharing_never_changes_an_arm(study: dict[str, Any], data: st.DataObject) -> None:
    """An arm is planned the same alone as among others, and what is shared adds up."""
    schedules = [
        {"kind": "cosine"}, {"kind": "wsd", "decay_fraction": 0.3, "warmup_tokens": 512},
        {"kind": "inverse_sqrt", "timescale_tokens": 700}, {"kind": "wsd", "decay_tokens": 1_000},
    ]  # fmt: skip
    arms = {
        f"arm{number}": {
            "gb": data.draw(st.sampled_from(["prose", "mixed"])), "qb": data.draw(st.sampled_from(["prose", "mixed"])),
            "schedule": data.draw(st.sampled_from(schedules)),
            "horizon_tokens": data.draw(st.sampled_from([5_000, 7_000])),
            "switch": {"progress": data.draw(st.sampled_from([0, 0.3, 0.6, 0.75]))},
            "seed": data.draw(st.sampled_from([0, 1])),
        }
        for number in range(data.draw(st.integers(2, 6)))
    }  # fmt: skip
    together = planned(study, arms=arms)
    for arm_id, arm in arms.items():
        alone = planned(study, arms={arm_id: arm})
        assert alone.arms[0].runs == together.arm(arm_id).runs
        assert alone.arms[0].phases == together.arm(arm_id).phases
        assert alone.arms[0].evaluation == together.arm(arm_id).evaluation
        assert alone.tokens_shared == alone.tokens_alone == together.arm(arm_id).horizon_tokens
    assert max(arm.horizon_tokens for arm in together.arms) <= together.tokens_shared <= together.tokens_alone
    for run in together.runs:
        assert run.stage.start_step < run.stage.end_step == run.keep_steps[-1]
        assert run.parent is None or run.stage.start_step in together.run(run.parent.digest).keep_steps
