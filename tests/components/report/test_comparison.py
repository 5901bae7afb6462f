"""Arms that lost some of their seeds: compared on what they share, and the best one chosen by that."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate.results import Row, best_arm, best_row
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.comparison import Comparison, compare
from switchpoint.components.report.content import gather
from switchpoint.components.report.html import render
from switchpoint.components.report.table import build_table
from switchpoint.components.report.verdict import verdict
from switchpoint.components.store.store import Store, write_json

METRIC = "bits_per_byte"
Values = Mapping[str, Mapping[int, float]]
LOST = {"prose": {1: 2.50}, "mixed": {1: 2.45, 2: 2.60, 3: 2.60}}
"""By its own seeds `prose` has the lower mean; with the seed that both have `mixed` is the lower one."""


@pytest.fixture
def plan(study: dict[str, Any], tmp_path: Path) -> Plan:
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    return check_study(study | {"seeds": [1, 2, 3]}, "recipe.yaml", tmp_path / "store")[0]


def rows(plan: Plan, store: Store, values: Values, base: float | None = None, **others: float) -> list[Row]:
    """Those of the arms in `values`; each of 40 documents has the row's bits per byte, nearly. `others`: bases."""
    found = []
    for arm in plan.arms:
        value = values.get(arm.arm_id, {}).get(arm.seed)
        if arm.arm_id not in values:
            continue
        scores = {} if value is None else {METRIC: {"value": value, "stderr": 0.01, "n": 40}}
        found.append(Row(name=arm.run_name, arm=arm, scores=scores, failure="" if scores else "qb failed", log=""))
        if value is not None:
            documents = [[value * 100 + number % 5, 100] for number in range(40)]
            store.local_folder(arm.evaluation).mkdir(parents=True)
            write_json(store.local_folder(arm.evaluation) / "examples.json", {f"{METRIC}.prose": documents})
    bases = others | ({} if base is None else {"base": base})
    for name, value in bases.items():
        scores = {METRIC: {"value": value, "stderr": 0.01, "n": 40}}
        found.insert(0, Row(name=name, arm=None, scores=scores, failure="", log=""))
        folder = store.local_folder(plan.bases[name].evaluation)
        folder.mkdir(parents=True)
        documents = [[value * 100 + number % 5, 100] for number in range(40)]
        write_json(folder / "examples.json", {f"{METRIC}.prose": documents})
    return found


def compared(plan: Plan, folder: Path, values: Values, base: float | None = None) -> tuple[Comparison, str]:
    store = Store(folder / "store")
    found = rows(plan, store, values, base)
    comparison = compare(plan, store, found, METRIC)
    assert comparison is not None
    return comparison, verdict(comparison, found)


def test_the_best_arm_is_that_of_the_seeds_that_all_have(plan: Plan, tmp_path: Path) -> None:
    comparison, said = compared(plan, tmp_path, LOST)
    assert (comparison.best, comparison.value, comparison.num_shared_seeds) == ("mixed", 2.45, 1)
    (prose,) = comparison.against
    assert (prose.first, prose.num_seeds) == ("prose", 1)
    assert prose.value == pytest.approx(-0.05)
    # Its examples leave no doubt with the one seed that both have; the noise between seeds is open.
    assert prose.over_examples is not None
    assert (prose.over_examples.low, prose.over_examples.high) == pytest.approx((-0.05, -0.05))
    assert prose.adjusted_p == 1.0
    assert "mixed has the lowest bits/byte, 2.450, but it is not distinguishable from any other arm." in said
    assert "With one seed per arm, the noise between seeds is not covered." in said


def test_one_answer_wherever_the_best_arm_is_named(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = rows(plan, store, LOST)
    assert best_arm(found, METRIC) == "mixed"
    best = best_row(plan, found)
    assert best is not None
    assert best.name == "mixed-seed-1"
    page = render(plan, store, gather(plan, store, found, "recipe.yaml", ""), [])
    assert re.search(r'<td class="best" data-title="[^"]+">2\.550 <small>', page)  # the mean of all three is shown
    assert page.count('class="best"') == 1
    assert best_arm(found[:0], METRIC) is None
    assert best_row(plan, found[:0]) is None


def test_the_verdict_tells_by_how_many_seeds(plan: Plan, tmp_path: Path) -> None:
    values = {"prose": {1: 2.50, 2: 2.52}, "mixed": {1: 2.30, 2: 2.31, 3: 2.40}, "switched": {2: 2.9}}
    comparison, said = compared(plan, tmp_path, values, base=3.0)
    assert {one.first: one.num_seeds for one in comparison.against} == {"prose": 2, "switched": 1, "base": 3}
    assert comparison.num_seeds == (1, 3)
    assert comparison.value == 2.31
    assert "not distinguishable from" in said
    assert (
        "Differences are paired by 1 to 3 seeds, and where two arms share fewer than 2 the noise between seeds is not "
        "covered; which arm is best goes by the 1 that all have."
    ) in said


def test_without_a_common_seed_each_arm_has_its_own(plan: Plan, tmp_path: Path) -> None:
    comparison, said = compared(plan, tmp_path, {"prose": {1: 2.5}, "mixed": {2: 2.4, 3: 2.2}})
    assert (comparison.best, comparison.value, comparison.num_shared_seeds) == ("mixed", pytest.approx(2.3), 0)
    assert comparison.against[0].value == pytest.approx(-0.2)
    assert not comparison.against[0].is_distinguishable
    assert "Arms share no seed: the noise between seeds is not covered." in said


def test_with_every_seed_nothing_is_left_out(plan: Plan, tmp_path: Path) -> None:
    values = {"prose": {1: 2.50, 2: 2.51, 3: 2.52}, "mixed": {1: 2.30, 2: 2.32, 3: 2.31}}
    comparison, said = compared(plan, tmp_path, values)
    assert comparison.value == pytest.approx(2.31)
    assert comparison.num_seeds == (3, 3)
    assert "better than every other arm" in said
    assert "Differences are paired by 3 seeds." in said


@pytest.mark.parametrize(("early", "own"), [(2.0, "half"), (2.6, "base")])
def test_the_best_arm_is_compared_with_its_own_base(
    study: dict[str, Any], tmp_path: Path, early: float, own: str
) -> None:
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    study |= {"bases": {"half": {"checkpoint": 0.5}}, "arms": {"whole": {}, "early": {"base": "half"}}}
    plan, store = check_study(study, "recipe.yaml", tmp_path / "store")[0], Store(tmp_path / "store")
    found = rows(plan, store, {"whole": {0: 2.3}, "early": {0: early}}, base=2.4, half=2.5)
    comparison = compare(plan, store, found, METRIC)
    assert comparison is not None
    assert {one.first for one in comparison.against} == {own, *{"whole", "early"} - {comparison.best}}
    assert comparison.num_pairs == 3
    assert comparison.undecided == []
    said = verdict(comparison, found)
    assert (
        f"better than {'the base' if own == 'base' else 'its base, half,'} by {0.1 if own == 'base' else 0.5:.3f}"
        in said
    )
    blends = {line[0]: line[1] for line in build_table(plan, found).lines}
    assert (blends["whole"], blends["early"]) == ("prose → mixed", "from half: prose → mixed")
