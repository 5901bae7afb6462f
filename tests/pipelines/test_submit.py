"""Submit, follow, cancel, retry through the command, against a stub of KFP that checks what it is sent."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from switchpoint.components.recipe.digest import canonical
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import load_study, parse_recipe
from switchpoint.components.recipe.source import origin_of
from switchpoint.components.store.plan_file import save_plan, write_plan_failure
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.cli import app
from switchpoint.pipelines.commands.command import checked
from switchpoint.pipelines.commands.kfp_server import KFPServer
from switchpoint.pipelines.commands.study_file import read_study
from switchpoint.pipelines.compile import PIPELINE_NAME, SPEC, version_name
from tests.kfp_stub import MLFLOW, TOKEN, KFPStub
from tests.pipelines.conftest import command

Write = Callable[[dict[str, Any]], Path]


def test_a_study_is_submitted_once_under_its_own_name(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    code, outcome = command("submit", recipe, "--store", store)
    assert code == 0
    assert outcome["run_id"] == "run-0"
    assert outcome["url"] == f"{kfp.url}/#/runs/details/run-0"
    assert [one["display_name"] for one in kfp.experiments] == ["tiny"]
    run = kfp.runs["run-0"]
    assert re.fullmatch(r"tiny \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [0-9a-f]{4}", run["display_name"])
    assert "plugins_input" not in run
    sent = run["runtime_config"]["parameters"]
    assert sent == {
        "study": load_study(recipe), "store": str(store), "recipe_file": str(recipe), "options": "", "stops": {},
    }  # fmt: skip
    assert [one["display_name"] for one in kfp.versions][-1] == version_name()
    before = len(kfp.versions)
    kfp.states = ["SUCCEEDED"]
    assert command("submit", recipe, "--store", store)[0] == 0
    assert len(kfp.versions) == before
    assert len(kfp.experiments) == 1


def test_what_compile_prints_for_a_run_by_hand_is_what_submit_sends(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    printed = json.loads(CliRunner().invoke(app, ["compile", "--study", str(recipe), "--store", str(store)]).stdout)
    assert canonical(printed) == canonical(kfp.runs["run-0"]["runtime_config"]["parameters"])


def test_a_running_study_is_not_submitted_again(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    kfp.states = ["RUNNING"]
    with pytest.raises(BadInput, match="this study is running"):
        command("submit", recipe, "--store", store)
    assert len(kfp.runs) == 1


def test_a_study_over_its_budget_or_the_stores_space_is_not_sent(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware = {"gpu": "H100-SXM", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 1e9}
    recipe = write_recipe(study | {"budget": {"max_cost_usd": 1}, "hardware": hardware})
    with pytest.raises(BadInput, match="budget"):
        command("submit", recipe, "--store", tmp_path / "store")
    usage = type("Usage", (), {"free": 10})()
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr("switchpoint.pipelines.commands.submit.shutil.disk_usage", lambda _: usage)
    with pytest.raises(BadInput, match="do not fit into the store"):
        command("submit", write_recipe(study), "--store", tmp_path / "store")
    with pytest.raises(BadInput, match="no pod has this folder"):
        command("submit", write_recipe(study), "--store", "store")
    with pytest.raises(BadInput, match="halving"):
        command("submit", write_recipe(study | {"halving": {"at": [0.5]}}), "--store", tmp_path / "store")
    assert not kfp.calls


def test_smoke_runs_a_few_steps_first_and_keeps_the_study_back_where_they_fail(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    kfp.states = ["RUNNING", "FAILED"]
    code, outcome = command("submit", recipe, "--store", store, "--smoke")
    assert code == 1
    assert outcome["state"] == "smoke failed"
    page = Path(outcome["failures"][-1].removeprefix("its report: "))
    assert "not run" in page.read_text()
    assert [run["display_name"].split()[0] for run in kfp.runs.values()] == ["tiny-smoke"]
    kfp.states = ["FAILED", "RUNNING", "SUCCEEDED"]
    assert command("submit", recipe, "--store", store, "--smoke")[0] == 0
    assert [run["display_name"].split()[0] for run in kfp.runs.values()] == ["tiny-smoke", "tiny-smoke", "tiny"]
    smoke = kfp.runs["run-1"]["runtime_config"]["parameters"]["study"]
    phases = [phase for one in smoke["phases"] for phase in one.values()]
    assert [phase["horizon_tokens"] for phase in phases] == [5 * 4 * 32, 5 * 4 * 32]
    assert [(phase["sequence_length"], phase["batch_size"]) for phase in phases] == [(32, 4), (32, 4)]
    assert (smoke["sequence_length"], smoke["batch_size"], smoke["model"]) == (32, 4, load_study(recipe)["model"])


def test_a_smoke_run_is_another_one_for_another_image(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(study)
    for image in ("trainer:1", "trainer:1", "trainer:2"):
        monkeypatch.setenv("SWITCHPOINT_SITE", f"{{trainer_image: {image}, namespace: jobs}}")
        kfp.states = ["SUCCEEDED"]
        assert command("submit", recipe, "--store", tmp_path / "store", "--smoke")[0] == 0
    first, again, other = [run["runtime_config"]["parameters"]["study"]["seed"] for run in list(kfp.runs.values())[::2]]
    assert first == again != other


def test_status_cancel_and_retry(kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    with pytest.raises(BadInput, match="was not submitted"):
        command("cancel", recipe, "--store", store)
    command("submit", recipe, "--store", store)
    kfp.states = ["RUNNING"]
    _, outcome = command("status", recipe, "--store", store)
    assert outcome["kfp"]["state"] == "RUNNING"
    assert outcome["kfp"]["tasks"] == {"plan": {"SUCCEEDED": 1}, "train-gb": {"RUNNING": 1}}
    assert [arm["state"] for arm in outcome["arms"]] == ["waiting"] * 3
    assert command("cancel", recipe, "--store", store)[1]["state"] == "cancelled"
    assert kfp.calls[-1] == "POST runs/run-0:terminate"
    # Again, for Jobs that were left: the run itself is not cancelled twice.
    assert command("cancel", recipe, "--store", store)[1]["state"] == "cancelled"
    assert command("cancel", recipe, "--store", store)[1]["state"] == "canceled"
    assert kfp.calls[-1] == "GET runs/run-0"
    assert command("status", recipe, "--store", store)[1]["kfp"]["state"] == "CANCELED"
    before = kfp.runs["run-0"]
    assert command("retry", recipe, "--store", store)[1] | {"url": ""} == {
        "state": "retried", "run_id": "run-1", "url": "", "before": "run-0",
    }  # fmt: skip
    assert kfp.runs["run-1"]["runtime_config"] == before["runtime_config"]
    assert kfp.runs["run-1"]["display_name"] != before["display_name"]
    assert not any("retry" in call for call in kfp.calls)


def test_what_is_running_or_succeeded_is_not_retried(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    for state, said in (("RUNNING", "this study is running"), ("SUCCEEDED", "nothing is to be retried")):
        kfp.states = [state]
        with pytest.raises(BadInput, match=said):
            command("retry", recipe, "--store", store)
    assert len(kfp.runs) == 1


def test_a_run_that_hangs_in_canceling_keeps_nobody_from_submitting(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    """Its Workflow is gone: the server says RUNNING for ever, refuses to cancel, and says CANCELING from then on."""
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    kfp.states, kfp.workflow_is_gone = ["RUNNING"], True
    with pytest.raises(BadInput, match="`switchpoint cancel` first"):
        command("submit", recipe, "--store", store)
    assert command("cancel", recipe, "--store", store)[1]["state"] == "cancelled"
    assert command("status", recipe, "--store", store)[1]["kfp"]["state"] == "CANCELING"
    assert command("submit", recipe, "--store", store)[1]["run_id"] == "run-1"


def test_a_run_whose_making_is_not_answered_for_is_found_by_its_name(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchpoint.pipelines.commands.kfp_server.CREATE_SECONDS", 0.3)
    kfp.create_seconds = 1.0
    recipe, store = write_recipe(study), tmp_path / "store"
    assert command("submit", recipe, "--store", store)[1]["run_id"] == "run-0"
    kfp.states = ["RUNNING"]
    with pytest.raises(BadInput, match="this study is running"):
        command("submit", recipe, "--store", store)
    assert len(kfp.runs) == 1


def test_a_submission_that_was_cut_off_is_found_by_the_next_one(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gave up, or died, before it knew the run's id."""
    monkeypatch.setattr("switchpoint.pipelines.commands.kfp_server.CREATE_SECONDS", 0.3)
    monkeypatch.setattr("switchpoint.pipelines.commands.kfp_server.FIND_SECONDS", 0.2)
    recipe, store = write_recipe(study), tmp_path / "store"
    whole = KFPServer._find_in
    monkeypatch.setattr(KFPServer, "_find_in", lambda *_: None)
    kfp.create_seconds = 1.0
    with pytest.raises(BadInput, match="whether the run was made is not known"):
        command("submit", recipe, "--store", store)
    assert command("status", recipe, "--store", store)[1]["kfp"]["state"] == "unknown"
    monkeypatch.setattr(KFPServer, "_find_in", whole)
    kfp.states, kfp.create_seconds = ["RUNNING"], 0.0
    with pytest.raises(BadInput, match="this study is running"):
        command("submit", recipe, "--store", store)
    assert command("cancel", recipe, "--store", store)[1]["run_id"] == "run-0"
    assert len(kfp.runs) == 1


def test_a_run_that_the_server_refuses_replaces_no_submission(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    for version in kfp.versions:
        version["pipeline_spec"] = {}
    command("submit", recipe, "--store", store)
    spec = kfp.versions[-1]["pipeline_spec"]
    spec["root"]["dag"]["tasks"]["plan"]["dependentTasks"] = ["nobody"]
    kfp.states = ["FAILED"]
    with pytest.raises(BadInput, match=r"500 .*sorting failed: invalid dependency nobody"):
        command("submit", recipe, "--store", store)
    assert command("status", recipe, "--store", store)[1]["kfp"]["run_id"] == "run-0"


def test_a_version_that_kubectl_applied_is_used(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    kfp.native = True
    kfp.apply(PIPELINE_NAME, version_name(), next(iter(yaml.safe_load_all(SPEC.read_text()))))
    command("submit", write_recipe(study), "--store", tmp_path / "store")
    assert [one["name"] for one in kfp.versions] == [version_name()]
    assert kfp.runs["run-0"]["pipeline_version_reference"]["pipeline_version_id"] == "version-0"


@pytest.mark.parametrize("native", [False, True])
def test_a_version_is_uploaded_once_among_many(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, native: bool
) -> None:
    kfp.native = native
    recipe, store = write_recipe(study), tmp_path / "store"
    kfp.pipelines["ours"] = {"pipeline_id": "ours", "display_name": PIPELINE_NAME}
    other = {"pipeline_id": "ours", "pipeline_spec": {}, "parameters": []}
    kfp.versions = [
        other | {"display_name": f"older-{number}", "name": f"older-{number}", "pipeline_version_id": f"v{number}"}
        for number in range(150)
    ]
    command("submit", recipe, "--store", store)
    kfp.versions.insert(0, kfp.versions.pop())
    kfp.versions += [kfp.versions.pop(0)]
    command("submit", recipe, "--store", store)
    assert len(kfp.versions) == 151


def test_experiments_are_in_the_namespace_of_ones_profile(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHPOINT_KFP_NAMESPACE", "team-a")
    command("submit", write_recipe(study), "--store", tmp_path / "store")
    assert [one["namespace"] for one in kfp.experiments] == ["team-a"]


def test_a_budget_makes_no_other_study(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store, "--budget", "1B")
    assert command("status", recipe, "--store", store)[1]["kfp"]["run_id"] == "run-0"


def test_a_failed_run_says_why_and_a_smoke_run_is_not_taken_for_the_study(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHPOINT_KFP_MLFLOW", "on")
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    kfp.states, kfp.tasks = ["FAILED"], {"train-gb": "SUCCEEDED", "train-qb": "FAILED"}
    kept = Store(store)
    arm = checked(str(recipe), None, None, str(store))[0].plan.arm("switched")
    kept.write_failure(arm.gb_run, "loss is nan at step 7", "log")
    found = command("status", recipe, "--store", store)[1]
    assert found["kfp"]["failures"][0].endswith("switched: gb failed: loss is nan at step 7")
    assert found["kfp"]["failures"][1:] == ["tasks that failed on Kubeflow Pipelines: train-qb"]
    assert found["kfp"]["tasks"] == {"plan": {"SUCCEEDED": 1}, "train-gb": {"SUCCEEDED": 1}, "train-qb": {"FAILED": 1}}
    assert found["mlflow"] == f"{MLFLOW}/#/experiments/1/runs/2"
    monkeypatch.setattr("switchpoint.pipelines.commands.submission.time.strftime", lambda *_: "2100-01-01T00:00:00Z")
    kfp.states = ["FAILED"]
    assert command("submit", recipe, "--store", store, "--smoke")[0] == 1
    found = command("status", recipe, "--store", store)[1]["kfp"]
    assert (found["what"], found["run_id"]) == ("smoke", "run-1")
    # What is retried is the study's own run.
    assert command("retry", recipe, "--store", store)[1]["before"] == "run-0"


def test_a_plan_that_failed_is_the_only_cause(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    """What else the store has are the failures of the run before."""
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    arm = checked(str(recipe), None, None, str(store))[0].plan.arm("switched")
    Store(store).write_failure(arm.gb_run, "loss is nan at step 7", "log")
    kfp.states, kfp.tasks = ["FAILED"], {"plan": "FAILED"}
    tasks = "tasks that failed on Kubeflow Pipelines: plan"
    assert command("status", recipe, "--store", store)[1]["kfp"]["failures"] == [tasks]
    error = BadInput("no such folder", file="recipe.yaml", field="sources.prose.folder")
    write_plan_failure(read_study(str(recipe))[0], Store(store), None, error)
    found = command("status", recipe, "--store", store)[1]["kfp"]["failures"]
    assert found == ["plan: recipe.yaml: sources.prose.folder: no such folder", tasks]
    # Of the run that is started next nothing is known.
    command("retry", recipe, "--store", store)
    assert command("status", recipe, "--store", store)[1]["kfp"]["failures"] == [tasks]


def test_report_fails_where_models_have_no_scores_and_no_reason(
    study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, store = write_recipe(study), Store(tmp_path / "store")
    plan = checked(str(recipe), None, None, str(store.root))[0].plan
    folder = store.root / plan.tokenizer.path
    folder.mkdir(parents=True)
    store.write_record(plan.tokenizer, folder, {})
    code, outcome = command("report", recipe, "--store", store.root)
    assert Path(outcome["report"]).exists()
    assert code == 1
    assert outcome["failures"] == []
    assert [(one["name"], one["reason"]) for one in outcome["without_scores"]] == [
        (name, "not run") for name in ("base", "prose", "mixed", "switched")
    ]


def test_the_space_that_is_left_to_take_counts_not_what_was_taken(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    recipe = write_recipe(study)
    planned = command("plan", recipe, "--store", tmp_path / "store")[1]
    assert planned["checkpoint_bytes_left"] == planned["checkpoint_bytes"] > 0
    runs = sum(run["checkpoint_bytes"] for run in planned["gb_runs"])
    assert planned["checkpoint_bytes"] > runs


def test_a_study_over_its_budget_is_refused_after_its_plan(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    hardware = {"gpu": "H100-SXM", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 1e9}
    recipe = write_recipe(study | {"budget": {"max_cost_usd": 1}, "hardware": hardware})
    result = CliRunner().invoke(app, ["submit", str(recipe), "--store", str(tmp_path / "store")])
    assert isinstance(result.exception, BadInput)
    assert "GPU-hours" in result.stdout
    assert "checkpoints and models that are kept" in result.stdout


def test_status_goes_by_the_plan_of_the_pods(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    """Whose text, and so whose digests, may be others than this machine would plan with."""
    recipe, store = write_recipe(study), tmp_path / "store"
    command("submit", recipe, "--store", store)
    here = command("status", recipe, "--store", store)[1]
    read, file = read_study(str(recipe))
    planned = parse_recipe(read, file)
    digests = {str(origin_of(source)): f"of-the-pods-{name}" for name, source in planned.sources.items()}
    save_plan(read, Store(store), file, "", digests, {})
    there = command("status", recipe, "--store", store)[1]
    assert {one["output"] for one in there["outputs"]} != {one["output"] for one in here["outputs"]}


def test_from_inside_the_cluster_the_server_is_known_and_links_are_not(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWITCHPOINT_KFP_URL")
    with pytest.raises(BadInput, match="not known where Kubeflow Pipelines is"):
        command("submit", write_recipe(study), "--store", tmp_path / "store")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr("switchpoint.pipelines.commands.kfp_server.IN_CLUSTER", kfp.url)
    recipe, store = write_recipe(study), tmp_path / "store"
    assert command("submit", recipe, "--store", store)[1]["url"] == "/#/runs/details/run-0"
    kfp.states = ["RUNNING"]
    assert command("status", recipe, "--store", store)[1]["kfp"]["state"] == "RUNNING"
    with pytest.raises(BadInput, match="this study is running"):
        command("submit", recipe, "--store", store)
    assert command("cancel", recipe, "--store", store)[1]["state"] == "cancelled"
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kfp.test/pipeline/")
    found = command("status", recipe, "--store", store)[1]["kfp"]["url"]
    assert found == "https://kfp.test/pipeline/#/runs/details/run-0"


def test_a_server_that_says_nothing_any_more_is_given_up(kfp: KFPStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchpoint.pipelines.commands.kfp_server.TIMEOUT_SECONDS", 0.3)
    server = KFPServer()
    kfp.answer = lambda *_: time.sleep(5)  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="does not answer"):
        server.state("run-0")


def test_a_server_that_is_not_there_or_refuses_says_so_without_the_token(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, store = write_recipe(study), tmp_path / "store"
    monkeypatch.setenv("SWITCHPOINT_KFP_TOKEN", "another-token")
    with pytest.raises(BadInput, match="401 Unauthorized") as refused:
        command("submit", recipe, "--store", store)
    assert "another-token" not in str(refused.value)
    monkeypatch.setenv("SWITCHPOINT_KFP_URL", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="does not answer"):
        command("submit", recipe, "--store", store)


def test_kfps_own_mlflow_plugin_is_told_the_experiment(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHPOINT_KFP_MLFLOW", "on")
    monkeypatch.setenv("SWITCHPOINT_KFP_SERVICE_ACCOUNT", "switchpoint-launcher")
    command("submit", write_recipe(study), "--store", tmp_path / "store")
    assert kfp.runs["run-0"]["plugins_input"] == {"mlflow": {"experiment_name": "tiny"}}
    assert kfp.runs["run-0"]["service_account"] == "switchpoint-launcher"


def test_the_token_stands_nowhere(kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path) -> None:
    command("submit", write_recipe(study), "--store", tmp_path / "store")
    for path in (tmp_path / "store").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
    assert TOKEN not in yaml.safe_dump(kfp.runs["run-0"])
