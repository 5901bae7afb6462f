"""The pipeline for `kubectl apply`: golden, valid, taken by a real API server; small for any study."""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from kubernetes import client

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.login import KEY_VARIABLE, SECRET_KEY_VARIABLE
from switchpoint.pipelines.compile import (
    KUBERNETES_SPEC,
    PIPELINE_NAME,
    SPEC,
    compile_kubernetes_spec,
    compile_spec,
    version_name,
)
from tests.custom_resources import problems
from tests.kube import Kube
from tests.pipelines.conftest import Finished


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KUBERNETES_SPEC.read_text()))


def test_the_committed_file_is_up_to_date(tmp_path: Path) -> None:
    """`make specs` renews it."""
    assert KUBERNETES_SPEC.read_text() == compile_kubernetes_spec(SPEC, tmp_path / "spec.yaml").read_text()


def test_it_holds_what_the_compiled_file_holds_under_the_name_of_its_content(tmp_path: Path) -> None:
    pipeline, version = documents()
    assert pipeline["metadata"]["name"] == version["spec"]["pipelineName"] == PIPELINE_NAME
    assert version["metadata"]["name"] == version_name()
    spec, platform = yaml.safe_load_all(SPEC.read_text())
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platform
    changed = tmp_path / "study.yaml"
    changed.write_text(SPEC.read_text().replace("0.1.0", "0.2.0"))
    assert version_name(changed) != version_name()


def test_both_are_valid_by_their_definitions() -> None:
    pipeline, version = documents()
    assert problems(pipeline, "pipelines.kubeflow.org_pipelines") == []
    assert problems(version, "pipelines.kubeflow.org_pipelineversions") == []


def test_the_spec_is_a_pipeline_spec_and_every_executor_has_a_valid_platform_config() -> None:
    spec, platform = yaml.safe_load_all(SPEC.read_text())
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == spec["deploymentSpec"]["executors"].keys()
    for config in executors.values():
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        assert config["securityContext"]["runAsNonRoot"]
        # Nodes that are given back would end a run whose Job trains on.
        assert config["podMetadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"


def executor_configs() -> dict[str, dict[str, Any]]:
    _, platform = yaml.safe_load_all(SPEC.read_text())
    found: dict[str, dict[str, Any]] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def variables(config: dict[str, Any]) -> dict[str, str]:
    """Those that come by reference, each with the Secret or the ConfigMap that it comes from."""
    pairs = [(one["configMapName"], one["keyToEnv"]) for one in config["configMapAsEnv"]]
    pairs += [(one["secretName"], one["keyToEnv"]) for one in config["secretAsEnv"]]
    return {key["envVar"]: source for source, keys in pairs for key in keys}


def test_every_task_gets_the_sites_settings_and_no_secret_stands_in_the_spec() -> None:
    for config in executor_configs().values():
        assert all(one["optional"] for one in (*config["configMapAsEnv"], *config["secretAsEnv"]))
        found = variables(config)
        assert {"SWITCHPOINT_SITE", "SWITCHPOINT_STORE", KEY_VARIABLE, SECRET_KEY_VARIABLE} <= found.keys()
        assert set(found.values()) <= {"switchpoint", "switchpoint-store", "switchpoint-mlflow"}


def test_only_tasks_that_speak_to_mlflow_get_its_login_and_its_address() -> None:
    found = {name: variables(config) for name, config in executor_configs().items()}
    names = {variable for one in found.values() for variable in one if "MLFLOW" in variable}
    assert {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI"} <= names
    speaking = {"exec-train-base", "exec-train-gb", "exec-train-qb", "exec-report"}
    for name, one in found.items():
        assert names & one.keys() == (names if name in speaking else set()), name
        assert ("switchpoint-mlflow" in one.values()) is (name in speaking), name


def test_no_task_has_the_stores_login_by_a_name_that_kubeflow_pipelines_reads() -> None:
    """KFP's launcher runs in the same container and takes AWS_* for its own object store."""
    for name, config in executor_configs().items():
        assert not [one for one in variables(config) if one.startswith("AWS_")], name


def test_a_store_on_a_volume_is_mounted_into_every_task(tmp_path: Path) -> None:
    """As kfp-kubernetes writes it; TaskConfig hands it on to the pods of jobs."""
    spec, platform = yaml.safe_load_all(compile_spec(tmp_path / "spec.yaml", volume="store:/store").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == spec["deploymentSpec"]["executors"].keys()
    for config in executors.values():
        message = json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        (mount,) = message.pvc_mount
        assert (mount.constant, mount.mount_path) == ("store", "/store")
    with pytest.raises(BadInput, match="--volume: not a volume"):
        compile_spec(tmp_path / "none.yaml", volume="store")


def test_no_task_is_answered_from_kfps_cache() -> None:
    """A loop's task lists what is missing now; the same inputs had another answer before."""
    spec, _ = yaml.safe_load_all(SPEC.read_text())
    dags = [spec["root"], *(one for one in spec["components"].values() if "dag" in one)]
    tasks = {name: task for dag in dags for name, task in dag["dag"]["tasks"].items()}
    executed = [
        name for name, task in tasks.items() if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    ]
    assert len(executed) == len(spec["deploymentSpec"]["executors"])
    for name in executed:
        assert not tasks[name]["cachingOptions"].get("enableCache"), name


@pytest.mark.cluster
def test_a_real_server_takes_it_twice_without_a_change(kube: Kube) -> None:
    with suppress(client.ApiException):  # other tests of this server have one, too
        kube.namespace("kubeflow")
    for server_side in (False, True):
        for again in (False, True):
            command = ["kubectl", "apply", "-f", str(KUBERNETES_SPEC)]
            command += ["--server-side", "--force-conflicts"] if server_side else []
            environment = os.environ | {"KUBECONFIG": str(kube.kubeconfig)}
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, ended.stderr
            if again and not server_side:
                assert all(line.endswith("unchanged") for line in ended.stdout.splitlines()), ended.stdout


def test_what_tasks_hand_on_does_not_grow_with_the_study(finished: Finished) -> None:
    """References and names only: the study goes to the first task."""
    for entry in finished.tasks:
        if entry["task"] != "plan":
            assert len(json.dumps(entry["values"])) < 400
