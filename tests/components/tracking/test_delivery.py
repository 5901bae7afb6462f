"""Metrics reach a real MLflow server while a run trains, also when it was away; and nothing waits for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.report.run import write_report
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json
from switchpoint.components.tracking import delivery
from switchpoint.components.tracking.delivery import Delivery
from tests.components.tracking.server import Server, wait_until
from tests.components.train.conftest import prepared  # noqa: F401 (a fixture)

RUN = Identity(kind="phase", format=1, config={"a": "run"})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server(
        {
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/server.db",
            "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path),
        }
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.uri)
    yield one
    one.stop()


def row(step: int) -> dict[str, Any]:
    return {
        "step": step, "tokens": step * 128, "loss": 3.0 / step, "learning_rate": 1e-4, "grad_norm": None,
        "losses": {"qa@best": 2.0}, "tokens_per_second": 10.0, "mfu": None, "memory_bytes": 1, "eta_seconds": 0.0,
        "skipped_steps": 0, "time": 1000.0 + step,
    }  # fmt: skip


def test_metrics_are_kept_while_mlflow_is_away_and_delivered_when_it_is_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(delivery, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(delivery, "EVERY_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store, rows = open_store(tmp_path / "store"), [row(1), row(2)]
    told: list[str] = []

    def has_told(words: str) -> bool:
        told.append(capfd.readouterr().err)
        return words in "".join(told)

    with Delivery(store, "study", RUN, lambda: rows, label="gb", is_gb_run=True):
        wait_until(lambda: has_told("MLflow does not answer"))
        server.start()
        wait_until(lambda: has_told("MLflow is back"))
        rows.append(row(3))
        client = MlflowClient(server.uri)
        (experiment,) = client.search_experiments(filter_string="name = 'study'")

        def history() -> list[tuple[int, float, int]]:
            (run,) = client.search_runs([experiment.experiment_id])
            found = client.get_metric_history(run.info.run_id, "train.loss")
            return [(metric.step, metric.value, metric.timestamp) for metric in found]

        wait_until(lambda: len(history()) == 3, seconds=300)  # twenty times what the first delivery took
    assert history() == [(128, 3.0, 1_001_000), (256, 1.5, 1_002_000), (384, 1.0, 1_003_000)]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == f"gb {RUN.digest}"
    assert run.info.status == "RUNNING" or run.info.status == "FINISHED"
    assert run.data.metrics["train.loss.qa.best"] == 2.0
    assert "train.mfu" not in run.data.metrics
    assert "".join(told).count("MLflow does not answer") == 1


def test_a_report_does_not_wait_for_mlflow(
    prepared: Planned,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is written, says so, and is not done: the next run delivers the study."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    page = write_report(prepared.plan, prepared.store, "recipe.yaml")
    assert "Does it walk?" in page.read_text()
    assert "MLflow did not take the study" in capfd.readouterr().err
    assert "the same command delivers it" in read_json(page.with_name("report.json"))["mlflow_away"]
    assert not prepared.store.is_done(prepared.plan.report)
