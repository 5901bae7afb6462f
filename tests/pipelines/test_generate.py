"""A study in which an arm is trained on text that the base generates, from its recipe to its report."""

import numpy as np
import pytest

from switchpoint.components.data.documents import read_documents
from switchpoint.components.data.token_file import read_index
from switchpoint.components.evaluate.results import rows
from tests.conftest import records, switchpoint, tiny_study, weights
from tests.pipelines.ran_study import Ran, run_to_the_end

pytestmark = pytest.mark.slow
TOKENS = 3_000
"""More than a shard of 64 x 32 tokens."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("generate")
    study = tiny_study(folder)
    study["sources"]["own"] = {"generate": {"from": "base", "tokens": TOKENS}}
    study["blends"]["fed"] = {"prose": 0.75, "own": 0.25}
    study |= {"arms": {"plain": {}, "fed": {"gb": "fed"}}}
    return run_to_the_end(study, folder)


def test_the_base_generates_the_text_that_one_arm_is_trained_on(ran: Ran) -> None:
    plan, store = ran.plan, ran.store
    (generated,) = records(store.root, "generated")
    assert generated["inputs"] == {"model": plan.bases["base"].model.path, "tokenizer": plan.tokenizer.path}
    assert generated["outputs"]["sampled_tokens"] == TOKENS
    documents = list(read_documents(store.root / plan.generations["own"].identity.path / "train" / "text.jsonl"))
    assert len(documents) == generated["outputs"]["documents"]
    assert len({document.text for document in documents}) > 0.9 * len(documents)
    tokens = store.record(plan.tokens["own"])
    assert tokens is not None
    assert tokens["outputs"]["documents"] == len(documents)
    # Retokenised, and with an end-of-document token each: near what was sampled, and not it.
    assert TOKENS / 2 < tokens["outputs"]["tokens"]["all"] < 2 * TOKENS
    (shard,) = tokens["outputs"]["shards"]
    assert int(np.sum(read_index(store.root / shard / "all")[1])) == tokens["outputs"]["tokens"]["all"]
    blends = {phase.blend: store.record(phase.blend_identity) for phase in plan.blends.values()}
    assert set(blends["fed"]["outputs"]["sources"]) == {"prose", "own"}  # type: ignore[index]
    assert "own" not in blends["mixed"]["outputs"]["sources"]  # type: ignore[index]


def test_both_arms_have_scores_and_differ(ran: Ran) -> None:
    scored = {row["name"]: row["scores"]["bits_per_byte"]["value"] for row in ran.outcome["rows"]}
    assert set(scored) == {"base", "plain", "fed"}
    assert scored["plain"] != scored["fed"]
    assert "bits_per_byte.own" not in ran.outcome["rows"][0]["scores"]  # nothing of it is held out
    trained = weights(ran.store.root)
    assert trained[ran.plan.arm("plain").runs[0].path] != trained[ran.plan.arm("fed").runs[0].path]
    assert not [row for row in rows(ran.plan, ran.store) if row.failure]


def test_nothing_of_the_job_is_left_and_a_second_run_makes_nothing(ran: Ran) -> None:
    assert not list(ran.store.root.glob("jobs/generate-*"))
    made = [path for path in ran.store.root.glob("*/*/record.json") if path.parent.parent.name != "report"]
    before = {path: path.stat().st_mtime_ns for path in made}
    again = ran.run_again()
    assert "nothing is left to do" in again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_other_commands_show_it(ran: Ran) -> None:
    for command in ("plan", "status", "report", "prune"):
        ended = switchpoint(command, ran.recipe, "--store", ran.store.root)
        assert ended.returncode == 0, ended.stderr
        if command == "status":
            assert "text of own" in ended.stdout
