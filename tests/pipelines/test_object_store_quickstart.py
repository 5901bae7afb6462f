"""The quickstart, shortened, in an object store that fails: its bits are those of a folder."""

import json
from pathlib import Path

import pytest
import yaml

from switchpoint.pipelines.study import QUICKSTART
from tests import conftest as here
from tests import object_store as there
from tests.components.conftest import ObjectStore, object_store, s3_endpoint
from tests.conftest import switchpoint
from tests.faulty_proxy import faulty, some
from tests.pipelines.test_object_store_run import FAILING, environment

__all__ = ["object_store", "s3_endpoint"]


@pytest.mark.slow
def test_the_quickstart_has_the_same_bits_in_an_object_store_that_fails(
    object_store: ObjectStore, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = yaml.safe_load(QUICKSTART.read_text())
    study["model"]["pretrain"] |= {"tokens": 80_000, "warmup_tokens": 3_000}
    study["horizon_tokens"] = 60_000
    study["evaluation"]["bytes_per_source"] = 20_000
    recipe = tmp_path / "quickstart.yaml"
    recipe.write_text(yaml.safe_dump(study, sort_keys=False))
    local = switchpoint("run", recipe, "--store", tmp_path / "store", timeout=3000)
    assert local.returncode == 0, local.stderr
    with faulty(s3_endpoint, some(FAILING)) as proxy:
        for name, value in environment(proxy.url, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        remote = switchpoint("run", recipe, "--store", object_store.url, "--json", timeout=3000)
    assert remote.returncode == 0, remote.stderr
    assert json.loads(remote.stdout)["state"] == "succeeded"
    assert sum(proxy.faults.values()) > 0.05 * len(proxy.requests) > 20
    assert there.weights(object_store) == here.weights(tmp_path / "store")
    assert there.losses(object_store) == here.losses(tmp_path / "store")
    assert [one["outputs"]["scores"] for one in there.records(object_store, "evaluation")] == [
        one["outputs"]["scores"] for one in here.records(tmp_path / "store", "evaluation")
    ]
    assert not there.who_tells_the_secret(object_store)
