"""The studies that ship, against the paper's arithmetic (arXiv 2407.07263)."""

import pytest

from switchpoint.components.recipe.cost import model_size, train_flops
from switchpoint.components.recipe.epochs import known_tokens, run_epochs
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import load_study, parse_recipe, recipe_path
from switchpoint.components.recipe.plan import Plan

STEP_TOKENS = 1_152 * 4_096


def paper(name: str) -> Plan:
    path = recipe_path(f"paper/{name}")
    return expand(parse_recipe(load_study(path), str(path)), {}, str(path))


@pytest.mark.parametrize(
    ("name", "alone", "shared", "gb_runs"),
    [
        ("table_4", 900, 650, 2), ("table_5", 1500, 1500, 5), ("table_6", 900, 400, 1), ("table_7", 2400, 650, 1),
        ("table_8", 900, 900, 3), ("table_9", 1500, 894, 2), ("table_10", 1400, 1400, 3), ("recipe", 300, 300, 1),
        ("warmup", 900, 900, 5),
    ],
)  # fmt: skip
def test_tokens_alone_and_shared(name: str, alone: int, shared: int, gb_runs: int) -> None:
    plan = paper(name)
    assert round(plan.tokens_alone / 1e9) == alone
    assert round(plan.tokens_shared / 1e9) == shared
    assert len(plan.gb_runs) == gb_runs


def test_table_9_keeps_one_gb_run_at_four_switch_points() -> None:
    plan = paper("table_9")
    arms = {arm.arm_id: arm for arm in plan.arms}
    assert all(arm.horizon_steps == 63_579 for arm in plan.arms)
    shared = plan.run(arms["at_1_5"].gb_run.digest)
    assert shared.keep_steps == tuple(arms[name].switch_step for name in ("at_1_2", "at_1_5", "at_1_10", "at_1_50"))
    assert [phase.name for phase in arms["at_1"].phases] == ["qb"]
    assert (arms["at_1"].switch_step, arms["at_1"].switch_learning_rate) == (0, 4.5e-5)
    progress = {name: (arm.switch_step or 0) / 63_579 for name, arm in arms.items()}
    assert progress == pytest.approx(
        {"at_1": 0, "at_1_2": 0.5032, "at_1_5": 0.7113, "at_1_10": 0.8050, "at_1_50": 0.9359}, abs=1e-4
    )


@pytest.mark.parametrize(("arm_id", "qb"), [("100B", 28.9), ("300B", 86.6), ("1T", 288.7)])
def test_table_10_leaves_the_qb_that_the_geometry_says(arm_id: str, qb: float) -> None:
    assert paper("table_10").arm(arm_id).phases[-1].tokens / 1e9 == pytest.approx(qb, abs=0.05)


@pytest.mark.parametrize(("name", "arm_id", "epochs"), [("table_8", "to_zero", 1.78), ("table_9", "at_1_5", 3.08)])
def test_epochs_of_the_qa_data_at_a_tenth(name: str, arm_id: str, epochs: float) -> None:
    """2.81B tokens in a QB of 50B or 86.6B."""
    plan = paper(name)
    qa = [key for key in plan.tokens if key.startswith("qa_")]
    drawn = sum(plan.arm(arm_id).phases[-1].samples[key] for key in qa) * 4096
    assert drawn / sum(known_tokens(plan, {})[key] for key in qa) == pytest.approx(epochs, abs=0.005)


@pytest.mark.parametrize(("arm_id", "epochs"), [("gb_qa_1_5e", 1.5), ("pretraining_qa_3_5e", 3.5)])
def test_table_7_draws_the_epochs_that_it_names(arm_id: str, epochs: float) -> None:
    plan = paper("table_7")
    found = run_epochs(plan.arm(arm_id).phases, known_tokens(plan, {}))
    for part in ("world_knowledge", "reasoning", "stem", "chat", "code"):
        assert float(found[f"qa_{part}"]) == pytest.approx(epochs, rel=1e-4)


def test_table_8_ends_where_it_says() -> None:
    ends = {arm.arm_id: arm.schedule.learning_rate(arm.horizon_tokens) for arm in paper("table_8").arms}
    assert ends == pytest.approx({"to_a_tenth": 4.5e-6, "to_a_hundredth": 4.5e-7, "to_zero": 0})


def test_the_15b_model() -> None:
    recipe = paper("recipe").recipe
    assert recipe.model.architecture is not None
    size = model_size(recipe.model.architecture, 256_000)
    assert 15.6e9 <= size.total <= 15.8e9
    assert size.embedding == pytest.approx(3.2e9, rel=0.02)  # as the paper counts
    assert size.blocks == pytest.approx(12.5e9, rel=0.01)
    by_hand = 6 * (12.48e9 + 1.573e9) + 12 * 32 * 6144 * 4096
    assert train_flops(recipe.model.architecture, 256_000, 1, 4096) == pytest.approx(by_hand, rel=0.001)


def test_the_base_as_the_paper_pretrained_it() -> None:
    base = paper("recipe").bases["base"].pretraining
    assert base is not None
    assert [base.clock.batch_size(step) for step in (0, base.end_step - 1)] == [384, 1152]
    assert base.schedule.learning_rate(16e9) == 4.5e-4
    assert base.schedule.learning_rate(base.schedule.horizon_tokens) == pytest.approx(4.5e-5)
