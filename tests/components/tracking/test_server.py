"""A study on a real MLflow server: PostgreSQL behind it, artifacts in an object store, and a login."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from switchpoint.components.evaluate import results
from switchpoint.components.report.run import write_report
from switchpoint.components.store.store import read_json
from switchpoint.components.tracking.client import MLflowAway
from switchpoint.components.tracking.registry import register_best
from switchpoint.components.tracking.study import log_study
from switchpoint.components.train.outputs import fetch_model
from tests.components.conftest import ObjectStore
from tests.components.tracking.made_study import deliver, make_study
from tests.components.tracking.server import Server, postgresql

USER, PASSWORD, DATABASE_PASSWORD = "admin", "a-long-password", "of-the-database"


@pytest.fixture
def server(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="pip install psycopg[binary]")
    pytest.importorskip("boto3", reason="pip install boto3")
    pytest.importorskip("flask_wtf", reason="pip install flask-wtf")
    login = tmp_path / "login.ini"
    settings = {
        "default_permission": "READ", "database_uri": f"sqlite:///{tmp_path}/users.db", "admin_username": USER,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": "300",  # otherwise every request costs a third of a second for the password's hash
    }  # fmt: skip
    login.write_text("[mlflow]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    with postgresql(DATABASE_PASSWORD) as database:
        environment = {
            "MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_ARTIFACTS_DESTINATION": f"{object_store.url}/mlflow",
            "MLFLOW_AUTH_CONFIG_PATH": str(login), "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
        }  # fmt: skip
        one = Server(environment, "--app-name", "basic-auth")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", one.uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # beside other tests it may be slow
        try:
            one.start(tmp_path / "server.log")
            # Only the server speaks with the object store.
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
                monkeypatch.delenv(name)
            yield one
        finally:
            one.stop()


def counts(client: MlflowClient, experiment_id: str) -> dict[str, Any]:
    """What a second delivery must not add to."""
    return {
        run.info.run_id: (
            run.info.run_name, run.info.end_time, run.data.params, run.data.tags, run.data.metrics,
            len(run.inputs.dataset_inputs), len(client.get_metric_history(run.info.run_id, "train.loss")),
        )
        for run in client.search_runs([experiment_id])
    }  # fmt: skip


@pytest.mark.slow
def test_a_study_on_a_server_with_postgresql_object_store_and_login(
    server: Server, study: dict[str, Any], object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = make_study(tmp_path, study)
    client = MlflowClient(server.uri)
    page = write_report(plan, store, "recipe.yaml")
    data = read_json(page.with_name("report.json"))
    assert data["mlflow_away"] == ""
    assert all(line.startswith(server.uri) for line in data["compare"])
    logged = deliver(plan, store)
    assert [row["mlflow_run"] for row in data["rows"]] == list(logged.run_ids.values())
    once = counts(client, logged.experiment_id)
    assert len(once) == 1 + 1 + len(plan.arms) + len(plan.gb_runs)
    assert deliver(plan, store) == logged
    assert counts(client, logged.experiment_id) == once

    arm = plan.arm("switched")
    versions = [register_best(plan, store, "tiny", "switched") for _ in range(2)]
    assert versions == ["1", "1"]
    assert client.get_model_version("tiny", "1").run_id == logged.run_ids["switched"]
    folder = Path(client.download_artifacts(logged.run_ids["switched"], "model", str(tmp_path)))
    exported = fetch_model(plan, store, arm.model) / "model.safetensors"
    assert (folder / "model.safetensors").read_bytes() == exported.read_bytes()
    report = Path(client.download_artifacts(logged.study_run_id, "report.html", str(tmp_path)))
    assert report.read_text() == page.read_text()
    assert not (store.root / "mlflow.db").exists()
    assert any(path.endswith("model.safetensors") for path in object_store.system.find(object_store.url))

    told = f"{once} {page.read_text()} {data} {store.record(plan.report)}"
    assert not any(secret in told for secret in (PASSWORD, DATABASE_PASSWORD))

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(MLflowAway):
        log_study(plan, store, results.rows(plan, store))
