"""The table's cells, also where an arm failed."""

from pathlib import Path
from typing import Any

from components.plan.run import check_study
from components.report.html import render
from components.report.results import Row
from components.report.table import build_table, markdown
from components.store.store import Store

SCORES = {"bits_per_byte.prose": {"value": 2.0, "stderr": 0.1, "n": 5}}


def test_a_failed_arm_has_its_reason_in_its_row(study: dict[str, Any], tmp_path: Path) -> None:
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    plan, _ = check_study(study, "recipe.yaml", tmp_path / "store")
    found = [Row(name="base", arm=None, scores=SCORES, failure="", log="")]
    for arm in plan.arms:
        failed = arm.arm_id == "mixed"
        found.append(
            Row(
                name=arm.arm_id, arm=arm, scores={} if failed else SCORES, log="gb.log" if failed else "",
                failure="gb failed: <no memory>" if failed else "",
            )
        )  # fmt: skip
    table = build_table(plan, found)
    assert table.header == ["arm", "blends", "bits/byte prose"]
    assert table.lines == [
        ["base", "none: the base", "2.000 ± 0.196"],
        ["prose", "prose", "2.000 ± 0.196"],
        ["mixed", "mixed", "failed"],
        ["switched", "prose → mixed", "2.000 ± 0.196"],
    ]
    assert "`mixed`: gb failed: <no memory>" in markdown(table)
    page = render(plan, Store(tmp_path / "store"), found, table, ["a command"])
    assert "gb failed: &lt;no memory&gt;" in page
    assert "gb.log" in page
