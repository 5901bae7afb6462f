"""The whole study with its jobs on a cluster: the compiled spec, the real API server, pods as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from switchpoint.components.recipe.load import load_study
from switchpoint.pipelines.compile import SPEC
from tests.components.launch.kubelet import Kubelet
from tests.conftest import losses, tiny_study, weights
from tests.kube import Kube
from tests.pipelines.conftest import Finished


@pytest.mark.cluster
@pytest.mark.slow
def test_the_study_ends_with_the_bits_of_one_machine(kube: Kube, finished: Finished, tmp_path: Path) -> None:
    """Two pods for each continued run; the QB run's are evicted once."""
    study = tiny_study(tmp_path)
    recipe, root = tmp_path / "recipe.yaml", tmp_path / "store"
    recipe.write_text(yaml.safe_dump(study | {"cluster": {"device": "none"}}, sort_keys=False))
    arguments = {"study": load_study(recipe), "store": str(root), "recipe_file": str(recipe)}
    (tmp_path / "arguments.json").write_text(json.dumps(arguments))
    namespace = kube.namespace("whole-study")
    site = {"namespace": namespace, "trainer_image": "registry/trainer:1", "store_volume": {"claim": "s", "path": "/s"}}
    environment = os.environ | {
        "SWITCHPOINT_SITE": yaml.safe_dump(site), "KUBECONFIG": str(kube.kubeconfig), "KFP_RUN_ID": "7a2f1c3e",
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip

    qb = finished.plan.arm("switched").runs[-1]

    def trains(name: str, start: int) -> bool:
        return name == f"phase-{qb.digest}" and (root / qb.path / "metrics.jsonl").exists()

    command = ["switchpoint.pipelines.local", SPEC, tmp_path / "arguments.json", tmp_path / "kfp"]
    with Kubelet(kube.client, namespace, tmp_path / "pods", {}, trains) as kubelet:
        ended = subprocess.run(
            [sys.executable, "-m", *map(str, command)], env=environment, capture_output=True, text=True, timeout=800,
            check=False,
        )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said[-6000:]
    assert weights(root) == weights(finished.root)
    assert losses(root) == losses(finished.root)
    assert sorted(name.split("-")[0] for name in kubelet.ran) == ["base", "evaluate", *["phase"] * 4]
    assert len(kubelet.evicted) == 1
    job = kubelet.jobs[f"phase-{qb.digest}"]
    assert job["metadata"]["labels"]["switchpoint/kfp-run"] == "7a2f1c3e"
    notes = job["spec"]["tasks"][0]["template"]["metadata"]["annotations"]
    assert notes["switchpoint/arms"] == "switched"
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    assert "train.loss" in client.get_run(notes["switchpoint/mlflow-run"]).data.metrics
    assert "because of preempt" in said
    assert "; started again from step" in said
