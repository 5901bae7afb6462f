"""The Volcano Job of a training or evaluation job: built by TorchX from an AppDef, made to fit restricted namespaces.

Pure: no request is sent to a cluster.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torchx import specs
from torchx.components.dist import torchrun
from torchx.runner import Runner
from torchx.schedulers.kubernetes_scheduler import sanitize_for_serialization

from switchpoint.components.launch.job import JobRequest
from switchpoint.components.launch.site import STAYS, Launched, Site
from switchpoint.components.recipe.cluster import NO_DEVICE, Cluster
from switchpoint.components.recipe.digest import digest_of

RENDEZVOUS_PORT = 29500
KEPT_SECONDS = 7 * 24 * 3600
"""How long a job that ended stays, with its pods and their logs."""
GRACE_SECONDS = 300
"""The time from SIGTERM to SIGKILL: a step, and a checkpoint."""
NEVER_HANDED_ON = ("KFP_", "KUBERNETES_", "MLFLOW_", "SWITCHPOINT_")
"""Variables that TaskConfig holds too and that are the launcher's own: only the launcher uses MLflow."""
TORCHX_OWN = ("TORCHX_INTERNAL_SESSION_ID", "TORCHX_TRACKING_EXPERIMENT_NAME", "TORCHX_TRACKING_RUN_NAME")
NOTE, CONTENT, PODS = "switchpoint/", "switchpoint/content", "switchpoint/pods"
"""The prefix of all labels and annotations; the annotation of what a job does; that of what its pods request."""


def app_definition(request: JobRequest, site: Site) -> specs.AppDef:
    """Return torchrun on every node, on at least `min_nodes` of them, which meet at the first one's address."""
    cluster = request.cluster
    nodes = cluster.num_nodes(request.num_processes)
    least = min(cluster.min_nodes or nodes, nodes)
    processes = min(request.num_processes, cluster.processes_per_node)
    devices = dict(cluster.devices) | ({} if cluster.device == NO_DEVICE else {cluster.device: processes})
    app = torchrun(
        *request.arguments, m=request.module, name=request.name, image=site.trainer_image,
        j=f"{nodes}x{processes}" if least == nodes else f"{least}:{nodes}x{processes}",
        rdzv_port=RENDEZVOUS_PORT, rdzv_conf=_patience(cluster), env=_environment(request),
    )  # fmt: skip
    role = app.roles[0]
    role.name = request.role
    role.resource = specs.Resource(
        cpu=torchx_cpus(cluster.millicpus_per_node), gpu=devices.pop("nvidia.com/gpu", 0), devices=devices,
        memMB=round(cluster.memory_gib_per_node * 2**30 / 1e6),
    )  # fmt: skip
    role.min_replicas = least
    return app


def torchx_cpus(millicpus: int) -> float:
    """Return the CPUs that TorchX's scheduler turns into `millicpus` again.

    It cuts cpu * 1000 to a whole number, and 1.001 * 1000 is 1000.9999999999999.
    """
    whole, rest = divmod(millicpus, 1000)
    if not rest:
        return whole
    cpus = millicpus / 1000
    return cpus if int(cpus * 1000) == millicpus else math.nextafter(cpus, math.inf)


def _patience(cluster: Cluster) -> str:
    """Return how long nodes wait for each other: the first node's image may come much later than another's, as long as
    pods may wait for their start.
    """
    seconds = math.ceil(cluster.pending_seconds)
    return f"join_timeout={seconds},read_timeout={seconds}"


def _environment(request: JobRequest) -> dict[str, str]:
    """Return the environment. Nothing secret: secrets come by reference."""
    return {
        "OMP_NUM_THREADS": str(request.num_threads), "MKL_NUM_THREADS": str(request.num_threads),
        "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
        "LOGLEVEL": "WARNING",
        # With the shared store the first node tells nobody of a later rendezvous: none could join.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS - 30), "SWITCHPOINT_JOB": request.name,
        **request.variables,
    }  # fmt: skip


def volcano_job(request: JobRequest, launched: Launched, runner: Runner) -> Any:
    """Return what `runner.schedule` takes: TorchX's own dry run, its Job completed. The same for the same request."""
    site = launched.site
    options = {
        "queue": request.cluster.queue, "namespace": launched.namespace, "service_account": site.service_account,
        "priority_class": request.cluster.priority_class, "validate_spec": False, "reserved_millicpu": 0,
        "reserved_memmb": 0,
    }  # fmt: skip
    info = runner.dryrun(
        app_definition(request, site), "kubernetes", {k: v for k, v in options.items() if v is not None}
    )
    job: dict[str, Any] = sanitize_for_serialization(info.request.resource)
    # TorchX ends every name with a random one: a launcher that is restarted must find its job.
    job = json.loads(json.dumps(job).replace(job["metadata"]["name"], request.name))
    labels = {"app.kubernetes.io/part-of": "switchpoint"} | {
        NOTE + name: label_value(one) for name, one in request.labels.items()
    }
    notes = {NOTE + name: one for name, one in request.notes.items()} | {CONTENT: request.content_digest}
    if launched.kfp_run_id:
        labels[NOTE + "kfp-run"] = launched.kfp_run_id
    job["metadata"] |= {"namespace": launched.namespace, "labels": labels, "annotations": notes}
    tasks = job["spec"]["tasks"]
    job["spec"] |= {
        "minAvailable": sum(task["minAvailable"] for task in tasks), "maxRetry": max_retry(request.max_restarts),
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        # A kubelet since 1.27 writes the phase Failed on a pod before it deletes it, also on one that is pre-empted or
        # drained: PodFailed ends the Job, and the PodEvicted that follows meets a Job that terminates and changes
        # nothing. So the launcher makes a new Job, which resumes from the newest checkpoint. PodEvicted alone comes for
        # a pod that is deleted before it started, and from older kubelets: Volcano then restarts all pods.
        "policies": [
            {"event": "PodEvicted", "action": "RestartJob"}, {"event": "PodFailed", "action": "TerminateJob"},
        ],
    }  # fmt: skip
    if job["spec"]["minAvailable"] < len(tasks):
        # Pods that were never scheduled would keep it from completing; the first one ends when all is written.
        tasks[0]["policies"] = [{"event": "TaskCompleted", "action": "CompleteJob"}]
    for task in tasks:
        _complete_pod(task["template"], request.cluster, launched, labels, notes)
    pods = [task | {"template": task["template"]["spec"]} for task in tasks]  # metadata name the run
    job["metadata"]["annotations"] = notes | {PODS: digest_of(job["spec"] | {"tasks": pods})}
    info.request.resource = job
    return info


def label_value(text: str) -> str:
    """Return `text` as a label takes it: its first and last characters are letters or digits."""
    return text.strip("-_.")


def max_retry(restarts: int) -> int:
    """Return the `maxRetry` by which Volcano restarts a Job so often.

    Volcano counts a restart, then fails the Job where the count is at least maxRetry
    (pkg/controllers/job/state/restarting.go:35 of 1.15.1): n allows n - 1 restarts. Its webhook makes 3 of 0.
    """
    return restarts + 1


def _complete_pod(
    pod: dict[str, Any], cluster: Cluster, launched: Launched, labels: Mapping[str, str], notes: Mapping[str, str]
) -> None:
    """Add to the pod what TorchX's role cannot say."""
    pod["metadata"]["labels"] |= labels
    pod["metadata"]["annotations"] |= {**STAYS, **notes}
    spec, site, given = pod["spec"], launched.site, launched.task_config
    (container,) = spec["containers"]
    spec |= {
        "automountServiceAccountToken": False, "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": site.user, "runAsGroup": site.user, "fsGroup": site.user,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    container["securityContext"] = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "privileged": False,
        "readOnlyRootFilesystem": True, "runAsNonRoot": True,
    }  # fmt: skip
    container["imagePullPolicy"] = "IfNotPresent"
    # Only a process that fails reports it: torchrun's table of errors is the pod's last word.
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    env_from = [{"configMapRef": {"name": name}} for name in site.env_config_maps]
    env_from += [{"secretRef": {"name": name}} for name in site.env_secrets]
    if env_from:
        container["envFrom"] = env_from
    # What names this launch of TorchX only would make each spec differ.
    container["env"] = [one for one in container["env"] if one["name"] not in TORCHX_OWN]
    ours = {one["name"] for one in container["env"]}
    handed_on = [one for one in given.env or [] if not one["name"].startswith(NEVER_HANDED_ON)]
    container["env"] += [one for one in handed_on if one["name"] not in ours]
    for volume in spec["volumes"]:
        if volume["name"] == "dshm":
            volume["emptyDir"]["sizeLimit"] = f"{round(cluster.shared_memory_gib * 1024)}Mi"
    _mount(
        spec,
        container,
        {"name": "scratch", "emptyDir": {"sizeLimit": f"{round(cluster.scratch_gib * 1024)}Mi"}},
        "/tmp",
    )
    if site.store_volume:
        claim = {"claimName": site.store_volume.claim}
        _mount(spec, container, {"name": "store", "persistentVolumeClaim": claim}, site.store_volume.path)
    _hand_on_volumes(spec, container, given.volumes or [], given.volume_mounts or [])
    selector = (given.node_selector or {}) | dict(cluster.node_selector)
    spec["nodeSelector"] = (spec.get("nodeSelector") or {}) | selector
    if not spec["nodeSelector"]:
        del spec["nodeSelector"]
    tolerations = [*(given.tolerations or []), *(one.spec() for one in cluster.tolerations)]
    if tolerations:
        spec["tolerations"] = tolerations
    if given.affinity:
        spec["affinity"] = given.affinity
    if site.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in site.image_pull_secrets]


def _mount(spec: dict[str, Any], container: dict[str, Any], volume: dict[str, Any], path: str) -> None:
    spec["volumes"].append(volume)
    container["volumeMounts"].append({"name": volume["name"], "mountPath": path})


def _hand_on_volumes(
    spec: dict[str, Any], container: dict[str, Any], volumes: Sequence[dict[str, Any]], mounts: Sequence[dict[str, Any]]
) -> None:
    """Pass on the volumes that KFP mounted into the launcher, unless a path or a name is taken."""
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    names = {volume["name"] for volume in spec["volumes"]}
    wanted = [mount for mount in mounts if mount["mountPath"] not in paths]
    mounted = {mount["name"] for mount in wanted}
    added = [volume for volume in volumes if volume["name"] in mounted - names]
    spec["volumes"] += added
    container["volumeMounts"] += [mount for mount in wanted if mount["name"] in {one["name"] for one in added}]
