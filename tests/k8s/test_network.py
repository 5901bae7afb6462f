"""What talks to what: the guide's table and the network policies say the same, and both ends of a connection agree."""

from typing import Any

import pytest

from tests.k8s.built import FOLDER, OVERLAYS, of_kind, one, pod_specs
from tests.k8s.network import Namespace, Pod, may_call

Connection = tuple[str, str, str, str]
"""From, to, port, and the end that a policy is about: `out` or `in`."""
JOBS_LABEL = "volcano.sh/job-name"
SERVICES, JOBS = "switchpoint", "switchpoint-jobs"
NAMES = {"mlflow": "MLflow", "seaweedfs": "SeaweedFS", "postgresql": "PostgreSQL"}
RUNS_LABEL = "switchpoint.io/runs"
TASK = {"pipelines.kubeflow.org/v2_component": "true"}
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def of_pods(selector: dict[str, Any], namespace: str) -> str:
    """The table's word for pods of one of our namespaces."""
    if not selector:
        return "every pod"
    if selector == {"matchExpressions": [{"key": JOBS_LABEL, "operator": "Exists"}]}:
        assert namespace == JOBS
        return "training pods"
    ((label, value),) = selector["matchLabels"].items()
    assert (label, namespace) == ("app.kubernetes.io/name", SERVICES)
    return NAMES[value]


def of_peer(peer: dict[str, Any], home: str) -> str:
    if "ipBlock" in peer:
        return {"0.0.0.0/0": "outside"}[peer["ipBlock"]["cidr"]]
    if "namespaceSelector" not in peer:
        return of_pods(peer["podSelector"], home)
    ((label, namespace),) = peer["namespaceSelector"]["matchLabels"].items()
    assert label in ("kubernetes.io/metadata.name", RUNS_LABEL)
    if namespace in (SERVICES, JOBS):
        return of_pods(peer["podSelector"], namespace)
    pods = peer.get("podSelector", {}).get("matchLabels", {})
    return {
        ("kube-system", "k8s-app"): "the cluster's DNS", ("kubeflow", ""): "namespace kubeflow",
        ("kubeflow", *TASK): "tasks of a run in kubeflow", ("true", *TASK): "tasks of a run in a profile",
        ("true", ""): "a profile", ("ingress-nginx", ""): "ingress controller",
    }[namespace, next(iter(pods), "")]  # fmt: skip


def connections(overlay: str) -> set[Connection]:
    found = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        spec, home = policy["spec"], policy["metadata"]["namespace"]
        pods = of_pods(spec["podSelector"], home)
        for kind, rules, peers in (("Egress", "egress", "to"), ("Ingress", "ingress", "from")):
            assert (rules in spec) <= (kind in spec["policyTypes"])
            for rule in spec.get(rules, []):
                assert rule[peers], "no peers: everybody"
                ports = [f"{port['protocol']} {port['port']}" for port in rule.get("ports", [])] or ["any"]
                for peer in rule[peers]:
                    for port in ports:
                        there = of_peer(peer, home)
                        ends = (pods, there) if kind == "Egress" else (there, pods)
                        found.add((*ends, port, "out" if kind == "Egress" else "in"))
    return found


def table() -> list[list[str]]:
    """The rows of the guide's table: from, to, port, ends, overlays."""
    text = (FOLDER / "README.md").read_text().split("## What talks to what")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@every_overlay
def test_the_table_and_the_policies_say_the_same(overlay: str) -> None:
    told = {
        (source, target, port, end)
        for source, target, ports, ends, overlays in table()
        if overlay in overlays.split(", ")
        for port in ports.split(", ") for end in ends.split(", ")
    }  # fmt: skip
    assert told == connections(overlay)
    assert all(len(row) == 5 for row in table())


@every_overlay
@pytest.mark.parametrize("namespace", [SERVICES, JOBS])
def test_nothing_else_is_allowed(overlay: str, namespace: str) -> None:
    deny = one(overlay, f"NetworkPolicy/{namespace}/default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {policy["metadata"]["namespace"] for policy in of_kind(overlay, "NetworkPolicy")} == {SERVICES, JOBS}


@every_overlay
def test_both_ends_of_a_connection_between_our_pods_are_allowed(overlay: str) -> None:
    """Except between training pods: who may come in is in the policy that Volcano makes for each Job."""
    inside = {*NAMES.values(), "training pods"}
    found = {each for each in connections(overlay) if {each[0], each[1]} <= inside}
    assert ("training pods", "training pods", "any", "out") in found
    for source, target, port, _ in found - {("training pods", "training pods", "any", "out")}:
        assert {(source, target, port, "out"), (source, target, port, "in")} <= found


@every_overlay
def test_ports_are_those_that_pods_listen_on(overlay: str) -> None:
    open_ports = {
        NAMES[pod.split("/")[-1]]: {f"TCP {port['containerPort']}" for port in spec["containers"][0]["ports"]}
        for pod, spec in pod_specs(overlay).items()
    }
    for _, target, port, _ in connections(overlay):
        if target in open_ports:
            assert port in open_ports[target]


def pod(namespace: str, labels: dict[str, str] | None = None, **labels_of_namespace: str) -> Pod:
    return Pod(Namespace(namespace, labels_of_namespace), labels or {})


TRAINING = pod(JOBS, {JOBS_LABEL: "gb-1"})
MLFLOW, SEAWEEDFS, POSTGRESQL = (pod(SERVICES, {"app.kubernetes.io/name": name}) for name in NAMES)
ADMITTED = Namespace("team-a", {RUNS_LABEL: "true"})
CALLS = [
    # Training pods: to the store, and to nothing else of ours.
    (TRAINING, SEAWEEDFS, "TCP 8333", True),
    (TRAINING, SEAWEEDFS, "TCP 9333", False),
    (TRAINING, MLFLOW, "TCP 5000", False),
    (TRAINING, POSTGRESQL, "TCP 5432", False),
    (pod(JOBS), SEAWEEDFS, "TCP 8333", False),
    (pod("default", {JOBS_LABEL: "gb-1"}), SEAWEEDFS, "TCP 8333", False),
    (pod(SERVICES, {JOBS_LABEL: "gb-1"}), SEAWEEDFS, "TCP 8333", False),
    # Runs in KFP's own namespace.
    (pod("kubeflow", TASK), MLFLOW, "TCP 5000", True),
    (pod("kubeflow"), MLFLOW, "TCP 5000", True),
    (pod("kubeflow", TASK), SEAWEEDFS, "TCP 8333", True),
    (pod("kubeflow"), SEAWEEDFS, "TCP 8333", False),
    (pod("kubeflow", TASK), POSTGRESQL, "TCP 5432", False),
    (pod("kubeflow", TASK), TRAINING, "TCP 29500", False),
    # Runs in a profile: only where it has the label, and a name alone is none.
    (Pod(ADMITTED, TASK), MLFLOW, "TCP 5000", True),
    (Pod(ADMITTED, TASK), SEAWEEDFS, "TCP 8333", True),
    (Pod(ADMITTED), SEAWEEDFS, "TCP 8333", False),
    (Pod(ADMITTED, TASK), POSTGRESQL, "TCP 5432", False),
    (Pod(ADMITTED, TASK), TRAINING, "TCP 29500", False),
    (pod("team-b", TASK), MLFLOW, "TCP 5000", False),
    (pod("team-b", TASK), SEAWEEDFS, "TCP 8333", False),
    (Pod(Namespace("team-b", {RUNS_LABEL: "false"}), TASK), MLFLOW, "TCP 5000", False),
    (Pod(Namespace("team-b"), {**TASK, RUNS_LABEL: "true"}), MLFLOW, "TCP 5000", False),
    # MLflow.
    (MLFLOW, POSTGRESQL, "TCP 5432", True),
    (MLFLOW, SEAWEEDFS, "TCP 8333", True),
    (MLFLOW, TRAINING, "TCP 29500", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "port", "passes"), CALLS)
def test_who_may_call_whom(source: Pod, target: Pod, port: str, passes: bool) -> None:
    """Both ends, by the policies of both namespaces."""
    assert may_call("kind", source, target, port) is passes


def test_the_guides_label_is_the_one_that_policies_admit() -> None:
    assert f"kubectl label namespace team-a {RUNS_LABEL}=true" in (FOLDER / "README.md").read_text()
