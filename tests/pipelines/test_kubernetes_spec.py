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

from components.recipe.errors import BadInput
from pipelines.compile import KUBERNETES_SPEC, PIPELINE_NAME, SPEC, compile_kubernetes_spec, compile_spec, version_name
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


def test_every_task_gets_the_sites_settings_and_no_secret_stands_in_the_spec() -> None:
    _, platform = yaml.safe_load_all(SPEC.read_text())
    for config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert config["configMapAsEnv"][0]["configMapName"] == "switchpoint"
        assert {one["secretName"] for one in config["secretAsEnv"]} == {"switchpoint-store", "switchpoint-mlflow"}
        assert all(one["optional"] for one in (*config["configMapAsEnv"], *config["secretAsEnv"]))


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
