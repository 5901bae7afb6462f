"""The table's cells, and the report around them, also where an arm failed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate.results import Row
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.gate import Check, Gate, GatedPhase
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.content import Content, as_data, gather
from switchpoint.components.report.html import render
from switchpoint.components.report.markdown import markdown_report
from switchpoint.components.report.table import build_table, markdown, stopped_arms
from switchpoint.components.store.store import Store

GATE = Gate(score="bits_per_byte", at_most=2.0, at_least=None, steps=(20,), measured={}, measured_on={})


def scores(value: float) -> dict[str, Any]:
    return {"bits_per_byte": {"value": value, "stderr": 0.1, "n": 5}}


@pytest.fixture
def plan(study: dict[str, Any], tmp_path: Path) -> Plan:
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    study["seeds"] = [0, 1]
    study["published"] = {"source": "a paper", "score": "accuracy", "base": 40, "arms": {"mixed": 51.5}}
    return check_study(study, "recipe.yaml", tmp_path / "store")[0]


def rows(plan: Plan, failed: str) -> list[Row]:
    found = [Row(name="base", arm=None, scores=scores(2.5), failure="", log="")]
    for number, arm in enumerate(plan.arms):
        broken = arm.arm_id == failed
        found.append(
            Row(
                name=arm.run_name, arm=arm, scores={} if broken else scores(2 + number / 10),
                log="gb.log" if broken else "", failure="gb failed: <no memory>" if broken else "",
            )
        )  # fmt: skip
    return found


def content(plan: Plan, tmp_path: Path, failed: str = "mixed") -> Content:
    return gather(plan, Store(tmp_path / "store"), rows(plan, failed), "recipe.yaml", "--scale cpu")


def test_arms_are_means_over_seeds_beside_the_papers_column(plan: Plan) -> None:
    table = build_table(plan, rows(plan, "mixed"))
    assert table.header == ["arm", "blends", "paper", "bits/byte"]
    # Values 2.0 and 2.1: mean 2.05, t(0.975, 1) x 0.05.
    assert table.lines == [
        ["base", "none: the base", "40", "2.500 ± 0.196"],
        ["prose", "prose", "", "2.050 ± 0.635"],
        ["mixed", "mixed", "51.5", "failed"],
        ["switched", "prose → mixed", "", "2.450 ± 0.635"],
    ]
    assert "`mixed-seed-1`: gb failed: <no memory>" in markdown(table)


def test_arms_of_equal_blends_are_told_apart_by_what_else_they_change(study: dict[str, Any], tmp_path: Path) -> None:
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    study["arms"]["heavy"] = {"optimizer": {"weight_decay": 0.2}, "horizon_tokens": 4096} | study["arms"]["mixed"]
    plan = check_study(study, "recipe.yaml", tmp_path / "store")[0]
    assert [line[1] for line in build_table(plan, rows(plan, "")).lines] == [
        "none: the base", "prose", "mixed (as the recipe)", "prose → mixed",
        "mixed (horizon_tokens 4,096, optimizer.weight_decay 0.2)",
    ]  # fmt: skip


def test_a_failed_arm_has_its_reason_in_the_report(plan: Plan, tmp_path: Path) -> None:
    page = render(plan, Store(tmp_path / "store"), content(plan, tmp_path), ["a command"])
    assert "gb failed: &lt;no memory&gt;" in page
    assert "gb.log" in page
    assert "2 of 7 rows failed: mixed-seed-0, mixed-seed-1" in page
    assert "switchpoint run recipe.yaml --scale cpu --store" in page


def test_a_seed_that_ended_at_a_gate_is_told_and_not_compared(plan: Plan, tmp_path: Path) -> None:
    reason = "gate of gb: bits_per_byte 2.5, allowed at most 2, at step 20"
    check = Check(gate=GATE, step=20, evaluation=plan.base_evaluation, value=2.5)
    gate = GatedPhase(phase="gb", gate=GATE, checks=(check,), budget_tokens=2560, trained_tokens=2560)
    assert gate.failure == reason
    found = rows(plan, "")
    for number, row in enumerate(found):
        if row.name in ("prose-seed-0", "switched-seed-0", "switched-seed-1"):
            assert row.arm is not None
            found[number] = replace(row, arm=replace(row.arm, stopped=reason, gates=(gate,)))
    table = build_table(plan, found)
    assert [line[3] for line in table.lines] == [
        "2.500 ± 0.196", "2.100 ± 0.196", "2.250 ± 0.635", "stopped at 5,120 tokens",
    ]  # fmt: skip
    assert stopped_arms(found) == [f"prose-seed-0 was stopped: {reason}", f"switched was stopped: {reason}"]
    shown = gather(plan, Store(tmp_path / "store"), found, "recipe.yaml", "")
    assert shown.verdict.endswith(
        "3 of 7 rows ended at a gate and are not compared: prose-seed-0, switched-seed-0, switched-seed-1."
    )
    assert shown.verdict.startswith("prose has the lowest bits/byte, 2.100")
    alone = {one.name: one.command for one in shown.again}
    assert "--arm prose-seed-0" in alone["prose-seed-0"]  # alone it ends at the same gate
    none = [replace(row, arm=row.arm and replace(row.arm, stopped=reason, gates=(gate,))) for row in found]
    shown = gather(plan, Store(tmp_path / "store"), none, "recipe.yaml", "")
    assert shown.verdict.startswith("No arm that came to its end has a score. 6 of 7 rows ended at a gate")
    assert [line[3] for line in shown.table.lines][1:] == ["stopped at 5,120 tokens"] * 3


def test_a_study_without_any_score_has_a_report(plan: Plan, tmp_path: Path) -> None:
    none = [
        Row(name=row.name, arm=row.arm, scores={}, failure="base failed: no", log="x.log") for row in rows(plan, "")
    ]
    found = gather(plan, Store(tmp_path / "store"), none, "recipe.yaml", "")
    assert found.verdict.startswith("No arm has a score. 7 of 7 rows failed")
    assert "base failed: no" in render(plan, Store(tmp_path / "store"), found, [])
    assert "base failed: no" in markdown_report(plan, found)


def test_the_verdict_says_what_the_noise_allows(plan: Plan, tmp_path: Path) -> None:
    found = content(plan, tmp_path)
    assert found.verdict.startswith("prose has the lowest bits/byte, 2.050")
    # 0.4 apart with both seeds: no doubt about the seeds; nothing is known of examples.
    assert "better than every other arm (the nearest, switched, by 0.400)" in found.verdict
    assert "paired by 2 seeds" in found.verdict
    data = as_data(plan, found, {})
    assert data["comparisons"][0]["against"][0] == {
        "arm": "switched", "difference": pytest.approx(-0.4), "seeds": 2, "over_seeds": pytest.approx([-0.4, -0.4]),
        "over_examples": None, "p_holm": pytest.approx(0, abs=1e-9), "distinguishable": True,
    }  # fmt: skip
    assert "**prose has the lowest" in markdown_report(plan, found)


def test_one_seed_is_said_to_cover_no_noise_between_seeds(plan: Plan, tmp_path: Path) -> None:
    one = [row for row in rows(plan, "") if row.arm is None or row.arm.seed == 0]
    found = gather(plan, Store(tmp_path / "store"), one, "recipe.yaml", "")
    assert "the noise between seeds is not covered" in found.verdict
    assert "not distinguishable from any other arm" in found.verdict
