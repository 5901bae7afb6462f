"""The compiled pipeline through KFP's DockerRunner in the image, and a job in the trainer's: the host's bits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.images import Image

from switchpoint.components.launch.local import app_definition
from switchpoint.components.recipe.load import load_study
from switchpoint.components.stages.supervise import train_to_end
from switchpoint.components.store.store import Store, read_json
from switchpoint.components.train.checkpoint import checkpoint_path
from switchpoint.components.train.job import TrainJob
from switchpoint.pipelines.compile import SPEC
from switchpoint.pipelines.study import QUICKSTART
from tests.conftest import losses, records, tiny_study, weights
from tests.images.conftest import give_away
from tests.images.docker_run import confined
from tests.pipelines.conftest import Finished

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(3600)]


def run_in_containers(recipe: Path, folder: Path, image: Image) -> Path:
    """The study to its end, every output made in the image; its store, which lies in `folder`."""
    store = folder / "store"
    (folder / "kfp").mkdir()
    arguments = {"study": load_study(recipe), "store": str(store), "recipe_file": str(recipe)}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    command = ["tests.images.docker_run", SPEC, folder / "arguments.json", folder, give_away(folder)]
    ended = subprocess.run(
        [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, timeout=3000, check=False
    )
    told = (ended.stdout + ended.stderr)[-6000:]
    assert ended.returncode == 0, told
    assert not list(store.glob("failures/*/*")), told
    (report,) = store.glob("report/*/report.html")
    assert report.stat().st_uid == (os.getuid() or 10001)
    made_in = {record["environment"].get("image") for step in all_steps(store) for record in records(store, step)}
    assert made_in == {image.labels["switchpoint.digest"]}
    return store


def all_steps(store: Path) -> set[str]:
    return {path.parts[-3] for path in store.glob("*/*/record.json")}


def test_a_small_study_has_the_hosts_bits(images: dict[str, Image], finished: Finished, shared: Path) -> None:
    recipe = shared / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_study(shared), sort_keys=False))
    store = run_in_containers(recipe, shared, images["pipeline"])
    assert all_steps(store) == all_steps(finished.root)
    assert weights(store) == weights(finished.root) != {}
    assert losses(store) == losses(finished.root)
    (here,), (there,) = (root.glob("report/*/report.json") for root in (store, finished.root))
    assert [row["scores"] for row in read_json(here)["rows"]] == [row["scores"] for row in read_json(there)["rows"]]


def test_the_quickstart(images: dict[str, Image], shared: Path, tmp_path: Path) -> None:
    """Its text is the image's own Python's, so the host is asked to train every job again on the image's tokens."""
    recipe = shared / "quickstart.yaml"
    shutil.copy(QUICKSTART, recipe)
    store = run_in_containers(recipe, shared, images["pipeline"])
    (report,) = store.glob("report/*/report.json")
    assert [row["arm"] for row in read_json(report)["rows"]] == ["base", "pretraining", "qa", "gb_then_qb"]
    trained = [record for step in ("base", "phase") for record in records(store, step)]
    assert sorted(record["kind"] for record in trained) == ["base", "phase", "phase", "phase"]
    for record in trained:
        assert train_again(store, record, tmp_path / "again") == record["outputs"]["weights_sha256"]


def train_again(store: Path, record: dict[str, Any], folder: Path) -> Any:
    """The record's `weights_sha256`, as the same job leaves it on this machine."""
    name = f"{record['step']}-{record['digest']}"
    own = folder / name
    own.mkdir(parents=True)
    (file,) = (store / record["step"] / record["digest"]).glob("job-*.json")
    job = TrainJob.model_validate(read_json(file))
    job = job.model_copy(update={"folder": str(own)})
    train_to_end(name, job, own / "logs", record["environment"]["num_processes"])
    kept = {
        str(step): read_json(checkpoint_path(own, step) / "state.json")["weights_sha256"] for step in job.keep_steps
    }
    return kept if record["step"] != "base" else kept[str(job.end_step)]


def test_the_trainer_trains_the_hosts_bits(
    engine: docker.DockerClient, images: dict[str, Image], finished: Finished, shared: Path
) -> None:
    """The job of the small study's base, as the launcher wrote it, with its folders moved into the container's."""
    (record,) = records(finished.root, "base")
    host = Store(finished.root)
    shutil.copytree(host.root, shared / "store")
    folder = shared / "store" / "base" / record["digest"]
    (file,) = folder.glob("job-*.json")
    text = file.read_text().replace(str(host.root), str(shared / "store"))
    shutil.rmtree(folder)
    folder.mkdir()
    file.write_text(text)
    app = app_definition("base", "switchpoint.components.train.app", [str(file)], num_processes=1, num_threads=1)
    (role,) = app.roles
    engine.containers.run(
        images["trainer"].id, ["python", *role.args], remove=True, environment={**role.env, "RANK": "0"},
        **confined(shared, give_away(shared)),
    )  # fmt: skip
    (state,) = folder.glob("checkpoints/*/state.json")
    assert read_json(state)["weights_sha256"] == record["outputs"]["weights_sha256"]
