"""Network policies as a network plugin reads them: whether one pod may call another."""

from dataclasses import dataclass, field
from typing import Any

from tests.k8s.built import Resource, of_kind


@dataclass(frozen=True)
class Namespace:
    name: str
    labels: dict[str, str] = field(default_factory=dict)

    def matches(self, selector: Resource) -> bool:
        return matches(selector, self.labels | {"kubernetes.io/metadata.name": self.name})


@dataclass(frozen=True)
class Pod:
    namespace: Namespace
    labels: dict[str, str] = field(default_factory=dict)


def matches(selector: Resource, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "Exists"
        if expression["key"] not in labels:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def _is_peer(peer: Resource, pod: Pod, home: str) -> bool:
    """Whether a policy of namespace `home` means this pod."""
    if "ipBlock" in peer:
        return False  # pods of the cluster are not meant by it here
    in_namespace = (
        pod.namespace.matches(peer["namespaceSelector"]) if "namespaceSelector" in peer else pod.namespace.name == home
    )
    return in_namespace and matches(peer.get("podSelector", {}), pod.labels)


def _side(overlay: str, kind: str, pod: Pod, other: Pod, port: str) -> bool:
    """Whether the policies about one end of the connection let it pass: all where none is about the pod."""
    rules, peers = ("egress", "to") if kind == "Egress" else ("ingress", "from")
    policies: list[dict[str, Any]] = [
        one["spec"] for one in of_kind(overlay, "NetworkPolicy")
        if one["metadata"]["namespace"] == pod.namespace.name and kind in one["spec"]["policyTypes"]
        and matches(one["spec"]["podSelector"], pod.labels)
    ]  # fmt: skip
    if not policies:
        return True
    return any(
        any(_is_peer(peer, other, pod.namespace.name) for peer in rule[peers])
        and (not rule.get("ports") or port in [f"{one['protocol']} {one['port']}" for one in rule["ports"]])
        for policy in policies for rule in policy.get(rules, [])
    )  # fmt: skip


def may_call(overlay: str, source: Pod, target: Pod, port: str) -> bool:
    return _side(overlay, "Egress", source, target, port) and _side(overlay, "Ingress", target, source, port)
