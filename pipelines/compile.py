"""The compiler of the pipeline to `pipelines/specs/`: the file that runs here and on a cluster, and the same for
`kubectl`.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import yaml

from switchpoint.components.recipe.errors import BadInput

SPECS = Path(__file__).parent / "specs"
SPEC = SPECS / "study.yaml"
KUBERNETES_SPEC = SPECS / "study.kubernetes.yaml"
PIPELINE_NAME = "switchpoint-study"
NAMESPACE = "kubeflow"
HEADER = "# Compiled from pipelines/study.py by `switchpoint compile`.\n"


def compile_spec(path: Path = SPEC, image: str = "", volume: str = "") -> Path:
    """Compile for the UI, the SDK and this machine, with tasks in `image`; not given: in the one that `make images`
    makes.

    `volume`: CLAIM:/PATH, a volume with the store that every task mounts, and hands on to its jobs. Raise BadInput for
    an image that KFP's local runner would refuse, or a volume that is none.
    """
    from kfp import compiler

    from switchpoint.components.launch.component import IMAGE
    from switchpoint.pipelines.study import study_pipeline

    image = image or IMAGE
    if "python" not in image:
        raise BadInput(
            "python must stand in the image's name", field="--image", given=image, allowed=f"such as {IMAGE}"
        )
    claim, _, mount_path = volume.partition(":")
    if volume and not (claim and mount_path.startswith("/")):
        raise BadInput("not a volume", field="--volume", given=volume, allowed="CLAIM:/PATH")
    # KFP writes mappings in no fixed order: put in order here, the same code gives the same file.
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "study.yaml"
        compiler.Compiler().compile(study_pipeline, str(written))
        documents = list(yaml.safe_load_all(written.read_text()))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        executor["container"]["image"] = image
    if volume:
        mount = {
            "constant": claim, "mountPath": mount_path, "pvcNameParameter": {"runtimeValue": {"constant": claim}},
        }  # fmt: skip
        for config in documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            config["pvcMount"] = [mount]
    path.write_text(HEADER + yaml.safe_dump_all(documents, sort_keys=True))
    return path


def compile_kubernetes_spec(spec: Path = SPEC, path: Path = KUBERNETES_SPEC, namespace: str = NAMESPACE) -> Path:
    """Write the compiled `spec` as Pipeline and PipelineVersion, for `kubectl apply` in KFP's Kubernetes-native mode.

    A PipelineVersion never changes: its name is the spec's digest, so another spec is another version.
    """
    pipeline, *platform = yaml.safe_load_all(spec.read_text())
    description = pipeline["pipelineInfo"]["description"]
    version = version_name(spec)
    documents: list[dict[str, Any]] = [
        _resource("Pipeline", PIPELINE_NAME, namespace, {"displayName": PIPELINE_NAME, "description": description}),
        _resource(
            "PipelineVersion", version, namespace,
            {
                "displayName": version, "description": description, "pipelineName": PIPELINE_NAME,
                "pipelineSpec": pipeline, **({"platformSpec": platform[0]} if platform else {}),
            },
        ),
    ]  # fmt: skip
    path.write_text(HEADER + yaml.safe_dump_all(documents, sort_keys=True))
    return path


def version_name(spec: Path = SPEC) -> str:
    """Return the name of the pipeline's version: the digest of what was compiled."""
    return f"{PIPELINE_NAME}-{hashlib.sha256(spec.read_bytes()).hexdigest()[:12]}"


def _resource(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": kind, "metadata": metadata, "spec": spec}
