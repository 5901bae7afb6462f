"""A real API server takes them, and a second time nothing changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.k8s.built import FOLDER, OVERLAYS, PROFILE, Resource, kubectl, name, resources, served
from tests.kube import Kube

pytestmark = pytest.mark.cluster
NEWER = {
    "policy/v1/PodDisruptionBudget", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy",
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding",
}  # fmt: skip
"""What an old server may not know yet: checked by schema alone there."""
Apply = Callable[..., list[str]]


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, kube: Kube) -> str:
    core = client.CoreV1Api(kube.client)
    if "kubeflow" not in [one.metadata.name for one in core.list_namespace().items]:
        core.create_namespace({"metadata": {"name": "kubeflow"}})
    return str(request.param)


def known(kube: Kube, overlay: str) -> list[Resource]:
    """The manifests, without what the server does not know."""
    kinds = served(kube.kubeconfig)
    found = [one for one in resources(overlay) if f"{one['apiVersion']}/{one['kind']}" in kinds]
    assert {f"{one['apiVersion']}/{one['kind']}" for one in resources(overlay) if one not in found} <= NEWER
    return found


@pytest.fixture
def apply(kube: Kube, overlay: str, tmp_path: Path) -> Apply:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(known(kube, overlay)))

    def run(*options: str) -> list[str]:
        return kubectl("--kubeconfig", kube.kubeconfig, "apply", "-f", manifests, *options).splitlines()

    return run


def test_twice_by_apply(apply: Apply, overlay: str, kube: Kube) -> None:
    first = apply()
    assert len(first) == len(known(kube, overlay))
    second = apply()
    assert len(second) == len(first)
    for line in second:
        # kubectl replaces the selector of a disruption budget each time, and says so; the server finds it the same.
        assert line.endswith(" unchanged") or line.startswith("poddisruptionbudget."), line


def test_twice_by_server_side_apply(apply: Apply, overlay: str, kube: Kube) -> None:
    """kubectl says `serverside-applied` either way: what is compared is what the server holds."""
    options = ("--server-side", "--field-manager=switchpoint", "--force-conflicts")
    apply(*options)
    before = _held(kube, overlay)
    apply(*options)
    assert _held(kube, overlay) == before
    assert len(before) > 20


def test_a_shared_volume_is_claimed_in_both_namespaces(apply: Apply, kube: Kube) -> None:
    apply()
    component = FOLDER / "components" / "shared-volume"
    files = [option for file in ("volumes.yaml", "claims.yaml") for option in ("-f", component / file)]
    arguments = ("--kubeconfig", kube.kubeconfig, "apply", *files)
    assert len(kubectl(*arguments).splitlines()) == 4
    for line in kubectl(*arguments).splitlines():
        assert line.endswith(" unchanged"), line


def test_one_more_namespace_of_runs(kube: Kube, tmp_path: Path) -> None:
    """The overlay of a profile, beside production."""
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(known(kube, "production")))
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump_all(resources(PROFILE)))
    core = client.CoreV1Api(kube.client)
    for namespace in ("kubeflow", "team-a"):
        if namespace not in [one.metadata.name for one in core.list_namespace().items]:
            core.create_namespace({"metadata": {"name": namespace}})
    kubectl("--kubeconfig", kube.kubeconfig, "apply", "-f", tmp_path / "all.yaml")
    arguments = ("--kubeconfig", kube.kubeconfig, "apply", "-f", tmp_path / "profile.yaml")
    assert len(kubectl(*arguments).splitlines()) == 5
    for file in ("profile.yaml", "all.yaml"):
        for line in kubectl(*arguments[:-1], tmp_path / file).splitlines():
            assert line.endswith(" unchanged") or line.startswith("poddisruptionbudget."), line


def _held(kube: Kube, overlay: str) -> dict[str, Any]:
    """Every object, and who owns its fields; without times and versions."""
    held = {}
    for one in known(kube, overlay):
        group, _, version = one["apiVersion"].rpartition("/")
        kind = ".".join((one["kind"], version, group)) if group else one["kind"]
        namespace = one["metadata"].get("namespace", "default")
        arguments = ("--namespace", namespace, "get", kind, one["metadata"]["name"], "--show-managed-fields")
        found = json.loads(kubectl("--kubeconfig", kube.kubeconfig, *arguments, "--output", "json"))
        del found["metadata"]["resourceVersion"]
        for owner in found["metadata"]["managedFields"]:
            del owner["time"]
        held[name(one)] = found
    return held
