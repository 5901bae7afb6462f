"""What talks to what: the guide's table and the network policies say the same, and both ends of a connection agree."""

from typing import Any

import pytest

from tests.k8s.built import FOLDER, OVERLAYS, of_kind, pod_specs

Connection = tuple[str, str, str, str]
"""From, to, port, and the end that a policy is about: `out` or `in`."""
JOBS_LABEL = "volcano.sh/job-name"
NAMES = {"mlflow": "MLflow", "seaweedfs": "SeaweedFS", "postgresql": "PostgreSQL"}
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def of_pods(selector: dict[str, Any]) -> str:
    """The table's word for pods of the namespace."""
    if not selector:
        return "every pod"
    if selector == {"matchExpressions": [{"key": JOBS_LABEL, "operator": "Exists"}]}:
        return "training pods"
    ((label, value),) = selector["matchLabels"].items()
    assert label == "app.kubernetes.io/name"
    return NAMES[value]


def of_peer(peer: dict[str, Any]) -> str:
    if "ipBlock" in peer:
        return {"0.0.0.0/0": "outside"}[peer["ipBlock"]["cidr"]]
    if "namespaceSelector" not in peer:
        return of_pods(peer["podSelector"])
    ((label, namespace),) = peer["namespaceSelector"]["matchLabels"].items()
    assert label == "kubernetes.io/metadata.name"
    pods = peer.get("podSelector", {}).get("matchLabels", {})
    return {
        ("kube-system", "k8s-app"): "the cluster's DNS", ("kubeflow", ""): "namespace kubeflow",
        ("kubeflow", "pipelines.kubeflow.org/v2_component"): "tasks of a run",
        ("ingress-nginx", ""): "ingress controller",
    }[namespace, next(iter(pods), "")]  # fmt: skip


def connections(overlay: str) -> set[Connection]:
    found = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        spec = policy["spec"]
        assert policy["metadata"]["namespace"] == "switchpoint"
        pods = of_pods(spec["podSelector"])
        for kind, rules, peers in (("Egress", "egress", "to"), ("Ingress", "ingress", "from")):
            assert (rules in spec) <= (kind in spec["policyTypes"])
            for rule in spec.get(rules, []):
                assert rule[peers], "no peers: everybody"
                ports = [f"{port['protocol']} {port['port']}" for port in rule.get("ports", [])] or ["any"]
                for peer in rule[peers]:
                    for port in ports:
                        ends = (pods, of_peer(peer)) if kind == "Egress" else (of_peer(peer), pods)
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
def test_nothing_else_is_allowed(overlay: str) -> None:
    (deny,) = [one for one in of_kind(overlay, "NetworkPolicy") if one["metadata"]["name"] == "default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@every_overlay
def test_both_ends_of_a_connection_within_the_namespace_are_allowed(overlay: str) -> None:
    """Except between training pods: who may come in is in the policy that Volcano makes for each Job."""
    inside = {*NAMES.values(), "training pods"}
    found = {one for one in connections(overlay) if {one[0], one[1]} <= inside}
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
