"""The operator's guide: its commands are commands, what it names is there, what it starts fits the cluster it makes."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from switchpoint.components.launch.job import JobRequest
from switchpoint.components.launch.site import SITE_VARIABLE, Launched, Site
from switchpoint.components.launch.volcano import volcano_job
from switchpoint.components.recipe.cluster import Cluster
from switchpoint.components.recipe.load import load_study
from switchpoint.components.store.opening import STORE_VARIABLE
from switchpoint.pipelines.commands.doctor_runs import NEEDED, NEEDED_OF_RUNS, Needed
from switchpoint.pipelines.commands.kfp_server import SERVICE_ACCOUNT_VARIABLE, URL_VARIABLE
from switchpoint.pipelines.site import NAMESPACE_VARIABLE, SECRETS
from tests.k8s.built import FOLDER, PROFILE, of_kind, one, pod_specs, resources
from tests.restricted import violations

GUIDE = (FOLDER / "README.md").read_text()
PROJECT = FOLDER.parent


def blocks(language: str) -> list[str]:
    """The guide's fenced blocks of one language; `` for commands."""
    start = language or "\n"
    return [block.removeprefix(language) for block in GUIDE.split("```")[1::2] if block.startswith(start)]


def test_commands_are_bash() -> None:
    assert len(blocks("")) > 8
    for block in blocks(""):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
        assert not done.stderr, (block, done.stderr)


def test_what_it_names_is_there() -> None:
    paths = set(re.findall(r"[\s`](k8s/[\w./-]+\w|pipelines/[\w./-]+\w)", GUIDE))
    assert len(paths) >= 8
    for path in paths:
        assert (PROJECT / path).exists(), path
    for folder in re.findall(r"^\| `([\w/-]+)` \|", GUIDE.split("## ")[0], re.MULTILINE):
        assert (FOLDER / folder).is_dir(), folder
    kinds = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service"}
    named = set(re.findall(r"-n switchpoint [\w -]*?(deployment|statefulset|service)/([\w-]+)", GUIDE))
    assert len(named) >= 4
    for kind, called in named:
        one("kind", f"{kinds[kind]}/switchpoint/{called}")


def test_a_profile_gets_all_that_kubeflow_has_for_runs() -> None:
    """By the guide's commands: manifests (tests/k8s/test_manifests.py), the label of policies, the Secrets of runs."""
    (block,) = [block for block in blocks("") if "overlays/profile" in block]
    secrets = set(re.findall(r"-n team-a create secret generic (\S+)", block))
    assert secrets == set(re.findall(r"-n kubeflow create secret generic (\S+)", GUIDE)) == SECRETS.keys()
    assert {each["metadata"]["namespace"] for each in resources(PROFILE)} == {"team-a", "switchpoint-jobs"}


def test_its_first_run_fits_the_cluster() -> None:
    """Four jobs at once within the quota, which ends no later; a recipe that names our queue and class finds them."""
    from torchx.runner import get_runner

    study = load_study(PROJECT / "pipelines" / "recipes" / "quickstart.yaml")
    cluster = Cluster.model_validate(
        study["cluster"] | {"queue": "pretraining", "priority_class": "switchpoint-training"}
    )
    request = JobRequest(
        name="gb-0123456789abcdef", module="switchpoint.components.train.app",
        arguments=("job.json",), log_folder=Path("logs"),
        num_processes=2, cluster=cluster, labels={"study": "quickstart", "step": "gb"},
    )  # fmt: skip
    site = Site.model_validate(
        yaml.safe_load(one("kind", "ConfigMap/kubeflow/switchpoint")["data"]["SWITCHPOINT_SITE"])
    )
    with get_runner() as runner:
        job = volcano_job(request, Launched(site=site, namespace="switchpoint-jobs"), runner).request.resource
    queues = {queue["metadata"]["name"]: queue["spec"] for queue in of_kind("kind", "Queue")}
    (task,) = job["spec"]["tasks"]
    pod = task["template"]["spec"]
    assert violations(pod) == []
    assert pod["serviceAccountName"] == "switchpoint-trainer"
    quota = one("kind", "ResourceQuota/switchpoint-jobs/switchpoint")["spec"]["hard"]
    for resource in ("cpu", "memory"):
        job_takes = parse_quantity(pod["containers"][0]["resources"]["limits"][resource])
        assert 4 * job_takes <= parse_quantity(queues[job["spec"]["queue"]]["capability"][resource])
        for part in ("requests", "limits"):
            assert 4 * job_takes <= parse_quantity(quota[f"{part}.{resource}"])


def test_the_variables_that_it_sets_are_read() -> None:
    site = yaml.safe_load((FOLDER / "overlays" / "kind" / "runs" / "site.yaml").read_text())
    assert Site.model_validate(site).namespace == "switchpoint-jobs"
    set_here = set(re.findall(r"(SWITCHPOINT_\w+)=", GUIDE))
    assert set_here == {
        STORE_VARIABLE, URL_VARIABLE, SERVICE_ACCOUNT_VARIABLE, SITE_VARIABLE, "SWITCHPOINT_KFP_MLFLOW",
        NAMESPACE_VARIABLE,
    }  # fmt: skip


def test_links_lead_to_the_page_of_kubeflow_pipelines() -> None:
    """It hands on what is asked of the API; the API's own port has no page."""
    (port,) = re.findall(rf"{URL_VARIABLE}=http://localhost:(\d+)", GUIDE)
    assert f"port-forward service/ml-pipeline-ui {port}:80" in GUIDE


def test_production_by_itself_comes_to_a_login_of_runs() -> None:
    section = GUIDE.split("## Production\n")[1].split("\n## ")[0]
    steps = [
        "jobs/namespace.yaml",
        "-n switchpoint create secret",
        "apply -k k8s/overlays/production",
        "python /etc/mlflow/add_user.py",
    ]
    places = [section.index(step) for step in steps]
    assert places == sorted(places)
    for file in re.findall(r"`((?:runs/)?\w+\.(?:env|yaml))`", section):
        assert (FOLDER / "overlays" / "production" / file).is_file(), file


@pytest.mark.parametrize(("namespace", "needed"), [("switchpoint-jobs", NEEDED), ("kubeflow", NEEDED_OF_RUNS)])
def test_doctor_asks_for_what_the_roles_allow(namespace: str, needed: tuple[Needed, ...]) -> None:
    rules = one("kind", f"Role/{namespace}/switchpoint-launcher")["rules"]
    allowed = {
        (rule["apiGroups"][0], rule["resources"][0], tuple(rule["verbs"]), *rule.get("resourceNames", [""]))
        for rule in rules
    }
    assert {
        (each.group, f"{each.resource}/{each.sub}" if each.sub else each.resource, each.verbs, each.name)
        for each in needed
    } == allowed


def test_kubeflow_pipelines_plugin_logs_to_the_same_server() -> None:
    settings = json.loads((FOLDER / "kfp-mlflow" / "plugins.json").read_text())["plugins"]["mlflow"]
    assert settings["endpoint"] == one("kind", "ConfigMap/kubeflow/switchpoint")["data"]["MLFLOW_TRACKING_URI"]
    assert settings["endpoint"] == one("production", "ConfigMap/kubeflow/switchpoint")["data"]["MLFLOW_TRACKING_URI"]
    assert settings["settings"]["authType"] == "basic-auth"
    assert settings["settings"]["credentialSecretRef"] == {"usernameKey": "username", "passwordKey": "password"}
    assert {"username", "password"} == set(re.findall(r"(\w+): \.data\.MLFLOW_TRACKING", GUIDE))
    patch = yaml.safe_load((FOLDER / "kfp-mlflow" / "deployment_patch.yaml").read_text())
    (volume,) = patch["spec"]["template"]["spec"]["volumes"]
    assert f"create configmap {volume['configMap']['name']} --from-file config.json" in GUIDE


@pytest.mark.parametrize("overlay", ["kind", "production"])
def test_the_job_that_upgrades_mlflow(overlay: str) -> None:
    if shutil.which("jq") is None:
        pytest.skip("no jq")
    deployment = one(overlay, "Deployment/switchpoint/mlflow")
    done = subprocess.run(
        ["jq", "-f", FOLDER / "mlflow_upgrade.jq"],
        input=json.dumps(deployment),
        capture_output=True,
        text=True,
        check=True,
    )
    job = json.loads(done.stdout)
    assert kubernetes_validate.validate(job, "1.36", strict=True)
    spec = job["spec"]["template"]["spec"]
    assert violations(spec) == []
    (container,) = spec["containers"]
    (served,) = pod_specs(overlay)["Deployment/switchpoint/mlflow"]["containers"]
    assert container["env"] == served["env"]
    assert container["image"] == served["image"]
    assert container["command"] == ["mlflow", "db", "upgrade", "postgresql:///"]
