"""The manifests as `kubectl kustomize` builds them."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("kind", "production")
PROFILE = "profile"
"""The overlay of one more namespace of runs, beside one of those."""
Resource = dict[str, Any]


def served(kubeconfig: Path) -> set[str]:
    """Kinds that a server knows, as APIVERSION/KIND."""
    listed = kubectl("--kubeconfig", kubeconfig, "api-resources", "--no-headers").splitlines()
    return {"/".join((line.split()[-3], line.split()[-1])) for line in listed}


def kubectl(*arguments: str | Path, **options: Any) -> str:
    """What it prints. Skips the test where it is missing; fails it with its words where it fails."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    done = subprocess.run(["kubectl", *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def text(overlay: str) -> str:
    return kubectl("kustomize", FOLDER / "overlays" / overlay)


def resources(overlay: str) -> list[Resource]:
    return list(yaml.safe_load_all(text(overlay)))


def of_kind(overlay: str, *kinds: str) -> list[Resource]:
    return [one for one in resources(overlay) if one["kind"] in kinds]


def name(resource: Resource) -> str:
    metadata = resource["metadata"]
    return "/".join(filter(None, (resource["kind"], metadata.get("namespace"), metadata["name"])))


def one(overlay: str, full_name: str) -> Resource:
    """Called KIND/NAMESPACE/NAME."""
    (found,) = [resource for resource in resources(overlay) if name(resource) == full_name]
    return found


def pod_specs(overlay: str) -> dict[str, Resource]:
    """Of everything that makes pods."""
    return {name(one): one["spec"]["template"]["spec"] for one in of_kind(overlay, "Deployment", "StatefulSet", "Job")}
