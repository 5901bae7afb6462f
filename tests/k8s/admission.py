"""The admission policy of Jobs and pods, as an API server evaluates it; Jobs of ours, and Volcano's pods of them."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchpoint.components.launch.job import JobRequest
from switchpoint.components.launch.site import Launched, Site
from switchpoint.components.launch.volcano import volcano_job
from switchpoint.components.recipe.cluster import Cluster
from tests.k8s.built import Resource, one

NAME, JOBS = "switchpoint-jobs", "switchpoint-jobs"
PARAMETERS = f"ConfigMap/{JOBS}/switchpoint-admission"


@dataclass(frozen=True)
class Policy:
    """A ValidatingAdmissionPolicy with its parameters."""

    spec: Resource
    parameters: Resource

    def refuses(self, new: Resource, old: Resource | None = None, subresource: str = "") -> list[str]:
        """The messages to whoever asks; none: it is admitted."""
        cel = pytest.importorskip("cel_expr_python.cel", reason="pip install cel-expr-python")
        from cel_expr_python.ext import ext_strings

        given = ("object", "oldObject", "request", "params", "variables")
        env = cel.NewEnv(variables=dict.fromkeys(given, cel.Type.DYN), extensions=[ext_strings.ExtStrings()])
        group, _, _ = new["apiVersion"].rpartition("/")
        request = {
            "operation": "UPDATE" if old else "CREATE", "subResource": subresource,
            "resource": {"group": group, "resource": f"{new['kind'].lower()}s"},
        }  # fmt: skip
        data: dict[str, Any] = {
            "object": new, "oldObject": old, "request": request, "params": self.parameters, "variables": {},
        }  # fmt: skip

        def evaluate(expression: str) -> Any:
            value = env.compile(expression).eval(data=data)
            if value.type() == cel.Type.ERROR:
                raise ValueError(value.plain_value())
            return value.plain_value()

        if not all(evaluate(condition["expression"]) for condition in self.spec["matchConditions"]):
            return []
        for variable in self.spec["variables"]:
            data["variables"][variable["name"]] = evaluate(variable["expression"])
        found = []
        for validation in self.spec["validations"]:
            try:
                if evaluate(validation["expression"]):
                    continue
            except ValueError as error:  # failurePolicy: Fail
                found.append(f"{error}: {validation['message']}")
                continue
            found.append(evaluate(validation.get("messageExpression", "")) if "messageExpression" in validation
                         else validation["message"])  # fmt: skip
        return found


def policy(overlay: str, **parameters: str) -> Policy:
    """That of an overlay, with some of its parameters changed."""
    data = one(overlay, PARAMETERS)
    return Policy(one(overlay, f"ValidatingAdmissionPolicy/{NAME}")["spec"], data | {"data": data["data"] | parameters})


def golden_jobs() -> list[Resource]:
    folder = Path(__file__).parents[1] / "components" / "launch" / "golden"
    return [yaml.safe_load(file.read_text()) for file in sorted(folder.glob("*_job.yaml"))]


def job_of_the_site(overlay: str, num_processes: int = 16, **changes: Any) -> Resource:
    """What a launcher makes that has the overlay's settings, changed."""
    return deepcopy(_job_of_the_site(overlay, num_processes, yaml.safe_dump(changes)))


@cache
def _job_of_the_site(overlay: str, num_processes: int, changes: str) -> Resource:
    from torchx.runner import get_runner

    settings = one(overlay, "ConfigMap/kubeflow/switchpoint")["data"]
    site = Site.model_validate(yaml.safe_load(settings["SWITCHPOINT_SITE"]) | yaml.safe_load(changes))
    request = JobRequest(
        name="gb-0123456789abcdef", module="switchpoint.components.train.app",
        arguments=("job.json",), log_folder=Path("logs"),
        num_processes=num_processes, cluster=Cluster(processes_per_node=8, device="none"),
        labels={"study": "quickstart", "step": "gb"},
    )  # fmt: skip
    with get_runner() as runner:
        made: Resource = volcano_job(request, Launched(site=site, namespace=JOBS), runner).request.resource
    return made


def volcano_pods(job: Resource) -> list[Resource]:
    """As Volcano 1.15 makes them: its labels, and what the plugins `env` and `svc` add to every container
    (pkg/controllers/job/job_controller_util.go, plugins/svc/svc.go).
    """
    name, made = job["metadata"]["name"], []
    hosts = f"{name}-svc"
    for task in job["spec"]["tasks"]:
        pod = deepcopy(task["template"])
        labels = pod["metadata"]["labels"] | {
            "volcano.sh/job-name": name, "volcano.sh/job-namespace": job["metadata"]["namespace"],
            "volcano.sh/task-spec": task["name"], "volcano.sh/task-index": "0", "volcano.sh/queue-name": "default",
        }  # fmt: skip
        spec = pod["spec"]
        spec |= {"schedulerName": "volcano", "hostname": f"{name}-{task['name']}-0", "subdomain": name}
        spec["volumes"] = [*spec.get("volumes", []), {"name": hosts, "configMap": {"name": hosts}}]
        keys = [f"VC_{one['name'].replace('-', '_').upper()}_{what}" for one in job["spec"]["tasks"]
                for what in ("HOSTS", "NUM")]  # fmt: skip
        for container in spec["containers"]:
            container["env"] = [
                *container.get("env", []), {"name": "VC_TASK_INDEX", "value": "0"},
                *({"name": key, "valueFrom": {"configMapKeyRef": {"name": hosts, "key": key}}} for key in keys),
            ]  # fmt: skip
            container["volumeMounts"] = [
                *container.get("volumeMounts", []), {"name": hosts, "mountPath": "/etc/volcano"},
            ]  # fmt: skip
        metadata = {"name": f"{name}-{task['name']}-0", "namespace": job["metadata"]["namespace"], "labels": labels}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"] | metadata, "spec": spec})
    return made
