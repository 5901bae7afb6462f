"""The Volcano Job of a training job: golden, valid by its definition, restricted, free of secrets."""

import os
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from torchx.runner import get_runner
from torchx.specs import AppDef

from switchpoint.components.launch.job import JobRequest
from switchpoint.components.launch.site import Launched, Site, TaskConfig, Volume, keep_task_config, read_site
from switchpoint.components.launch.volcano import app_definition, torchx_cpus, volcano_job
from switchpoint.components.recipe.cluster import Cluster, Toleration
from switchpoint.components.recipe.errors import BadInput
from tests.custom_resources import problems
from tests.restricted import violations

GOLDEN = Path(__file__).parent / "golden"
SITE = Launched(
    namespace="team", kfp_run_id="7a2f1c3e-0b1d-4e5f-8a9b-0c1d2e3f4a5b",
    site=Site(
        trainer_image="registry.example.com/switchpoint-trainer:0.1.0", service_account="switchpoint-trainer",
        env_secrets=["switchpoint-store"], env_config_maps=["switchpoint"],
        store_volume=Volume(claim="switchpoint-store", path="/store"), image_pull_secrets=["registry"],
    ),
)  # fmt: skip
EIGHT = Cluster(processes_per_node=8, cpus_per_node=96, memory_gib_per_node=1024)
CASES = {
    "one_node": (8, EIGHT),
    "several_nodes": (
        32,
        EIGHT.model_copy(
            update={
                "devices": {"rdma/hca": 8}, "queue": "pretraining", "priority_class": "switchpoint-training",
                "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
                "tolerations": [Toleration(key="nvidia.com/gpu", effect="NoSchedule")],
            }
        ),
    ),
    "elastic": (32, EIGHT.model_copy(update={"min_nodes": 2})),
    "half_a_cpu": (1, Cluster.model_validate({"device": "none", "cpus_per_node": "500m", "memory_gib_per_node": 1})),
}  # fmt: skip


def request(num_processes: int = 8, cluster: Cluster = EIGHT, **changed: Any) -> JobRequest:
    fields: dict[str, Any] = {
        "name": "gb-0123456789abcdef", "module": "switchpoint.components.train.app",
        "arguments": ("/store/gb/0123456789abcdef/job.json",), "log_folder": Path("logs"),
        "num_processes": num_processes, "cluster": cluster, "content": "fedcba9876543210",
        "labels": {"study": "paper-table-9", "step": "gb", "output": "0123456789abcdef"},
        "notes": {"arms": "at_5, at_10", "store": "/store", "path": "gb/0123456789abcdef", "mlflow-run": "17ab"},
    }  # fmt: skip
    return JobRequest(**fields | changed)


def built(one: JobRequest, launched: Launched = SITE) -> dict[str, Any]:
    with get_runner() as runner:
        job: dict[str, Any] = volcano_job(one, launched, runner).request.resource
        return job


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [task["template"]["spec"] for task in job["spec"]["tasks"]]


@pytest.mark.parametrize("case", CASES)
def test_the_app_and_the_job_are_the_golden_ones(case: str) -> None:
    """SWITCHPOINT_GOLDEN=write renews them."""
    one = request(*CASES[case])
    for kind, resource in (("app", as_data(app_definition(one, SITE.site))), ("job", built(one))):
        text = yaml.safe_dump(resource, sort_keys=True)
        file = GOLDEN / f"{case}_{kind}.yaml"
        if os.environ.get("SWITCHPOINT_GOLDEN") == "write":
            file.write_text(text)
        assert text == file.read_text()


def as_data(app: AppDef) -> dict[str, Any]:
    """What an AppDef says, without what it leaves as it is."""

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value.name if isinstance(value, Enum) else value for name, value in pairs if value}

    return asdict(app, dict_factory=kept)


@pytest.mark.parametrize("case", CASES)
def test_it_is_valid_and_every_pod_may_run_in_a_restricted_namespace(case: str) -> None:
    job = built(request(*CASES[case]))
    for pod in pods(job):
        assert violations(pod) == []
    assert problems(job, "batch.volcano.sh_jobs") == []
    unknown = job | {"spec": job["spec"] | {"gang": True}}
    assert problems(unknown, "batch.volcano.sh_jobs")


def test_the_check_of_the_restricted_profile_finds_what_torchx_makes_by_itself() -> None:
    with get_runner() as runner:
        from torchx.schedulers.kubernetes_scheduler import sanitize_for_serialization
        from torchx.specs import DeviceMount, Role

        app = AppDef("plain", [Role("train", "image", entrypoint="true", mounts=[DeviceMount("/dev/x", "/dev/x")])])
        plain = runner.dryrun(app, "kubernetes", {"queue": "default", "validate_spec": False}).request.resource
        job: Any = sanitize_for_serialization(plain)
    found = " ".join(violations(pods(job)[0]))
    for what in ("privileged", "allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccomp", "hostPath"):
        assert what in found


def test_the_gang_is_all_nodes_or_the_least_that_the_recipe_allows() -> None:
    assert built(request(32))["spec"]["minAvailable"] == 4
    elastic = built(request(*CASES["elastic"]))["spec"]
    assert elastic["minAvailable"] == 2
    assert [task["minAvailable"] for task in elastic["tasks"]] == [1, 1, 0, 0]
    assert "--nnodes 2:4" in pods(built(request(*CASES["elastic"])))[0]["containers"][0]["command"][-1]


@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_volcano_restarts_a_job_as_often_as_the_recipe_says(restarts: int) -> None:
    max_retry = built(request(max_restarts=restarts))["spec"]["maxRetry"] or 3  # Volcano's webhook makes 3 of 0
    count = 1  # Volcano counts a restart first, and fails the Job where the count is at least maxRetry
    while count < max_retry:
        count += 1
    assert count - 1 == restarts


@pytest.mark.parametrize(
    ("given", "cpu"),
    [(96, "96000m"), (0.5, "500m"), ("500m", "500m"), (1.001, "1001m"), (0.29, "290m"), ("1m", "1m"), (2.0, "2000m")],
)
def test_cpus_are_asked_for_to_the_millicore(given: object, cpu: str) -> None:
    (pod,) = pods(built(request(1, Cluster.model_validate({"device": "none", "cpus_per_node": given}))))
    resources = pod["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == cpu


def test_torchx_makes_the_same_millicores_of_every_number() -> None:
    assert [one for one in range(1, 300_000) if int(torchx_cpus(one) * 1000) != one] == []


def test_nodes_meet_at_the_first_one_by_a_name_that_a_shell_understands() -> None:
    first, second, *_ = (pod["containers"][0] for pod in pods(built(request(32))))
    assert "${TORCHX_RANK0_HOST:=localhost}:29500" in first["command"][-1]
    assert "${VC_TRAIN_0_HOSTS:=localhost}:29500" in second["command"][-1]
    assert "--rdzv_id gb-0123456789abcdef" in second["command"][-1].replace("'", "")


def test_the_same_request_gives_the_same_job_with_a_name_that_fits() -> None:
    assert built(request(32)) == built(request(32))
    assert built(request(32))["metadata"]["name"] == "gb-0123456789abcdef"
    longest = request(8 * 1000, name="check-suites-0123456789abcdef")
    assert len(f"{longest.name}-{longest.role}-999-0") <= 63
    changed = built(request(32, content="another"))["metadata"]["annotations"]["switchpoint/content"]
    assert changed != built(request(32))["metadata"]["annotations"]["switchpoint/content"]


def test_a_cpu_cluster_asks_for_no_device_and_a_small_job_for_one_pod() -> None:
    (pod,) = pods(built(request(1, Cluster(device="none", memory_gib_per_node=4))))
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "4000m", "memory": "4295M"}
    assert "--nproc_per_node 1" in pod["containers"][0]["command"][-1]
    other = Cluster(device="amd.com/gpu", processes_per_node=8)
    assert pods(built(request(4, other)))[0]["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "4"


def test_what_kfp_gave_the_launcher_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from kfp import dsl

    secret = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "secret"}}}
    given = dsl.TaskConfig(
        env=[
            secret, {"name": "KFP_POD_NAME", "value": "x"}, {"name": "MLFLOW_TRACKING_PASSWORD", "value": "y"},
            {"name": "OMP_NUM_THREADS", "value": "9"},
        ],
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "unused", "emptyDir": {}}],
        volume_mounts=[{"name": "data", "mountPath": "/data"}, {"name": "other", "mountPath": "/tmp"}],
        node_selector={"pool": "gpu", "zone": "a"}, tolerations=[{"key": "gpu", "operator": "Exists"}],
        affinity={"nodeAffinity": {}},
    )  # fmt: skip
    monkeypatch.setenv("SWITCHPOINT_SITE", "{trainer_image: image, namespace: team}")
    monkeypatch.setenv("SWITCHPOINT_TASK_CONFIG", "")
    keep_task_config(given)
    site = read_site()
    (pod,) = pods(built(request(8, EIGHT.model_copy(update={"node_selector": {"zone": "b"}})), site))
    container = pod["containers"][0]
    assert secret in container["env"]
    assert not [one for one in container["env"] if one["name"].startswith(("KFP_", "MLFLOW_"))]
    assert [one["value"] for one in container["env"] if one["name"] == "OMP_NUM_THREADS"] == ["1"]
    assert pod["nodeSelector"] == {"pool": "gpu", "zone": "b"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    assert {volume["name"] for volume in pod["volumes"]} == {"dshm", "scratch", "data"}
    assert violations(pod) == []


def test_outside_a_cluster_nothing_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from kfp import dsl

    monkeypatch.setenv("SWITCHPOINT_TASK_CONFIG", "")
    keep_task_config(dsl.TaskConfig())
    keep_task_config(None)
    site = read_site({"SWITCHPOINT_SITE": "{trainer_image: image, namespace: team}"})
    assert site.task_config == TaskConfig()


def test_no_secret_of_the_launcher_stands_in_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN"):
        monkeypatch.setenv(name, "do-not-show-this")
    assert "do-not-show-this" not in yaml.safe_dump(built(request()))


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("{namespace: team}", "SWITCHPOINT_SITE.trainer_image: Field required"),
        ("{trainer_image: image}", "SWITCHPOINT_SITE.namespace"),
        ("{trainer_image: image, store_volume: {claim: store, path: store}}", "SWITCHPOINT_SITE.store_volume.path"),
        ("{trainer_image: image, queue: mine}", "SWITCHPOINT_SITE.queue"),
        ("trainer_image: {", "not YAML"),
    ],
)
def test_a_site_that_cannot_be_used_says_why(site: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_site({"SWITCHPOINT_SITE": site})
