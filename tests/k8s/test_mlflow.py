"""The MLflow server of the overlay `kind`, started for real on PostgreSQL and SeaweedFS: who may what, and a study."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.report.run import write_report
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.store import read_json
from tests.components.tracking.made_study import deliver, make_study
from tests.components.tracking.server import free_port, postgresql
from tests.k8s import kind_parts as parts
from tests.k8s.built import one

pytestmark = pytest.mark.slow
POD = "Deployment/switchpoint/mlflow"


@dataclass(frozen=True)
class Running:
    url: str
    secrets: parts.Secrets
    store: str
    variables: dict[str, str]
    files: Path
    command: list[str]

    def get(self, path: str, *login: str, **headers: str) -> int:
        answer = requests.get(self.url + path, auth=login or None, headers=headers, timeout=60)  # type: ignore[arg-type]
        return answer.status_code

    def add_user(self, secret: dict[str, str]) -> str:
        """As the guide does it, in the pod."""
        command = [sys.executable, str(self.files / "add_user.py")]
        done = subprocess.run(
            command,
            input=parts.as_kubectl_prints(secret),
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    for module in ("psycopg", "boto3", "flask_wtf"):
        pytest.importorskip(module, reason="pip install switchpoint[mlflow-server]")
    folder = tmp_path_factory.mktemp("mlflow")
    secrets = parts.made_secrets(folder)
    files = parts.config_map_files(POD, folder)
    described = parts.container(POD)
    with (
        postgresql(secrets["switchpoint/mlflow-database"]["PGPASSWORD"]) as database,
        parts.seaweedfs(secrets, folder) as store,
    ):
        address, port = urlsplit(database), free_port()
        changed = {
            "MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(port), "AWS_ENDPOINT_URL": store,
            "MLFLOW_AUTH_CONFIG_PATH": str(files / "basic_auth.ini"),
            "PGHOST": "127.0.0.1", "PGPORT": str(address.port), "PGDATABASE": "postgres",
        }  # fmt: skip
        variables = parts.environment(POD, secrets, changed)
        command = [*described["command"], *described["args"]]
        with parts.running(command, variables, folder / "mlflow.log", port):
            yield Running(f"http://127.0.0.1:{port}", secrets, store, variables, files, command)
        for log in ("mlflow.log", "seaweedfs.log"):
            written = (folder / log).read_text()
            for secret in secrets.values():
                for key, value in secret.items():
                    secret_value = key.endswith(("PASSWORD", "SECRET_KEY", "SECRET_ACCESS_KEY"))
                    assert not (secret_value and value in written), (log, key)


EXPERIMENTS = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_a_login_is_needed(mlflow: Running) -> None:
    admin = mlflow.secrets["switchpoint/mlflow"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert mlflow.get("/health") == 200
    assert mlflow.get(EXPERIMENTS) == 401
    assert mlflow.get("/") == 401
    assert mlflow.get(EXPERIMENTS, "admin", "wrong") == 401
    for password in ("password", "password1234", "admin", ""):
        assert mlflow.get(EXPERIMENTS, "admin", password) == 401
    assert mlflow.get(EXPERIMENTS, "admin", admin) == 200


def test_only_names_that_are_its_own(mlflow: Running) -> None:
    admin = mlflow.secrets["switchpoint/mlflow"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    uri = one("kind", "ConfigMap/kubeflow/switchpoint")["data"]["MLFLOW_TRACKING_URI"]
    assert mlflow.get(EXPERIMENTS, "admin", admin, Host=urlsplit(uri).netloc) == 200
    assert mlflow.get(EXPERIMENTS, "admin", admin, Host="evil.example.org") == 403


def test_a_study_logs_to_it_as_a_user_who_is_no_administrator(
    mlflow: Running, study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    secret = mlflow.secrets["kubeflow/switchpoint-mlflow"]
    login = secret["MLFLOW_TRACKING_USERNAME"], secret["MLFLOW_TRACKING_PASSWORD"]
    assert mlflow.get(EXPERIMENTS, *login) == 401
    assert mlflow.add_user(secret) == "made: switchpoint"
    assert mlflow.add_user(secret) == "was there, has the Secret's password now: switchpoint"
    assert mlflow.get(EXPERIMENTS, *login) == 200
    assert mlflow.get("/api/2.0/mlflow/users/get?username=admin", *login) == 403

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(mlflow.url)
    # As KFP's plugin does with the same login: a run for each KFP run, one nested in it for the task.
    experiment = client.create_experiment("kubeflow-pipelines")
    of_run = client.create_run(experiment, run_name="a run").info.run_id
    of_task = client.create_run(experiment, run_name="report", tags={"mlflow.parentRunId": of_run}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", of_task)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)

    plan, store = make_study(tmp_path, study)
    write_report(plan, store, "recipe.yaml")
    logged = deliver(plan, store)
    assert deliver(plan, store) == logged
    runs = client.search_runs([logged.experiment_id])
    assert logged.experiment_id != experiment
    assert len(runs) == 1 + 1 + len(plan.arms) + len(plan.gb_runs)
    assert client.get_experiment(logged.experiment_id).artifact_location.startswith("mlflow-artifacts:/")
    folder = Path(client.download_artifacts(logged.run_ids["switched"], "model", str(tmp_path)))
    assert (folder / "model.safetensors").exists()

    seen = client.get_run(of_task)
    assert seen.info.status == "RUNNING"
    assert seen.data.tags["switchpoint.study_run_id"] == logged.study_run_id
    client.log_metric(of_task, "loss", 1.0)
    client.set_terminated(of_task)
    assert [run.info.run_id for run in client.search_runs([experiment], "tags.mlflow.parentRunId != ''")] == [of_task]


@contextmanager
def logged_in(url: str, login: tuple[str, str]) -> Iterator[str]:
    """The server as a browser sees it that was asked for a password, and given it: headless ones are not asked."""

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {"Content-Type": self.headers.get("Content-Type", "")}
            answer = requests.request(self.command, url + self.path, data=body, headers=headers, auth=login, timeout=60)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = _pass_on

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@pytest.mark.browser
def test_its_comparison_page_shows_the_arms(
    mlflow: Running, study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a browser that logs in; MLFLOW_PICTURE names a file for the picture, to be looked at."""
    chromium = shutil.which("chromium") or pytest.skip("no Chromium: apt-get install chromium")
    secret = mlflow.secrets["kubeflow/switchpoint-mlflow"]
    mlflow.add_user(secret)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    plan, store = make_study(tmp_path, study)
    compare = read_json(write_report(plan, store, "recipe.yaml").with_name("report.json"))["compare"][-1]
    assert compare.startswith(f"{mlflow.url}/#/compare-runs")
    login = secret["MLFLOW_TRACKING_USERNAME"], secret["MLFLOW_TRACKING_PASSWORD"]
    picture = os.environ.get("MLFLOW_PICTURE", str(tmp_path / "compare.png"))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    command += ["--window-size=1400,1000", "--virtual-time-budget=60000", f"--screenshot={picture}", "--dump-dom"]
    with logged_in(mlflow.url, login) as url:
        page = compare.replace(mlflow.url, url)
        shown = subprocess.run([*command, page], capture_output=True, text=True, timeout=240, check=False).stdout
    assert "Comparing 3 Runs" in shown, shown[-2000:]
    for arm in plan.arms:
        assert arm.run_name in shown
    assert Path(picture).stat().st_size > 20_000


def test_backup_and_restore(mlflow: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's commands: what was made after the backup is gone, the rest is there."""
    from mlflow import MlflowClient

    if shutil.which("pg_dump") is None:
        pytest.skip("no pg_dump: apt-get install postgresql-client")
    admin = mlflow.secrets["switchpoint/mlflow"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", admin)
    client = MlflowClient(mlflow.url)
    kept = client.create_run(client.create_experiment("before"), run_name="kept").info.run_id
    (tmp_path / "file").write_text("content")
    client.log_artifact(kept, str(tmp_path / "file"))

    dump = tmp_path / "mlflow.dump"
    with dump.open("wb") as file:
        _postgresql(mlflow, "pg_dump", "--format=custom", "--username=mlflow", stdout=file)
    client.create_experiment("afterwards")
    with dump.open("rb") as file:
        options = (
            "--clean",
            "--if-exists",
            "--no-owner",
            "--exit-on-error",
            "--single-transaction",
            "--username=mlflow",
        )
        _postgresql(mlflow, "pg_restore", *options, "--dbname=postgres", stdin=file)

    subprocess.run(["mlflow", "db", "upgrade", "postgresql:///"], check=True, env=mlflow.variables)  # nothing to do
    variables = mlflow.variables | {"MLFLOW_PORT": str(free_port())}
    with parts.running(mlflow.command, variables, tmp_path / "log", int(variables["MLFLOW_PORT"])):
        restored = MlflowClient(f"http://127.0.0.1:{variables['MLFLOW_PORT']}")
        names = {experiment.name for experiment in restored.search_experiments()}
        assert "before" in names
        assert "afterwards" not in names
        assert Path(restored.download_artifacts(kept, "file", str(tmp_path))).read_text() == "content"


def _postgresql(mlflow: Running, program: str, *options: str, **files: Any) -> None:
    variables = {name: value for name, value in mlflow.variables.items() if name.startswith(("PG", "PATH"))}
    subprocess.run([program, *options], check=True, env=variables | {"PGSSLMODE": "disable"}, **files)


def test_the_store_of_a_study(mlflow: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address that the guide gives and the login of tasks and training pods."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", mlflow.store)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("SWITCHPOINT_CACHE", str(tmp_path))
    for name, value in mlflow.secrets["switchpoint-jobs/switchpoint-store"].items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = open_store("s3://switchpoint/store")
    store.write("jobs/a/job.json", {"of": "a job"})
    assert read_json("s3://switchpoint/store/jobs/a/job.json") == {"of": "a job"}
    store.remove("jobs/a")
    assert read_json("s3://switchpoint/store/jobs/a/job.json") is None
    with pytest.raises(BadInput):
        open_store("s3://mlflow/store")


def test_each_login_of_the_store_has_its_own_bucket(mlflow: Running) -> None:
    import boto3
    from botocore.exceptions import ClientError

    def bucket_of(secret: dict[str, str]) -> Any:
        return boto3.client(
            "s3", endpoint_url=mlflow.store, region_name="us-east-1",
            aws_access_key_id=secret["AWS_ACCESS_KEY_ID"], aws_secret_access_key=secret["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip

    switchpoint = bucket_of(mlflow.secrets["switchpoint-jobs/switchpoint-store"])
    assert mlflow.secrets["switchpoint-jobs/switchpoint-store"] == mlflow.secrets["kubeflow/switchpoint-store"]
    server = bucket_of(mlflow.secrets["switchpoint/mlflow"])
    for client, own, other in ((switchpoint, "switchpoint", "mlflow"), (server, "mlflow", "switchpoint")):
        client.put_object(Bucket=own, Key="a/file", Body=b"content")
        assert client.get_object(Bucket=own, Key="a/file")["Body"].read() == b"content"
        assert client.list_objects_v2(Bucket=own, Prefix="a/")["KeyCount"] == 1
        for refused in (
            lambda client=client, other=other: client.put_object(Bucket=other, Key="a/file", Body=b""),
            lambda client=client, other=other: client.list_objects_v2(Bucket=other),
            lambda client=client: client.create_bucket(Bucket="another"),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                refused()
        client.delete_object(Bucket=own, Key="a/file")
    with pytest.raises(ClientError):
        bucket_of({"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}).list_objects_v2(Bucket="mlflow")
    assert requests.get(f"{mlflow.store}/mlflow", timeout=30).status_code == 403
    assert requests.get(f"{mlflow.store}/status", timeout=30).status_code == 200  # what its probes ask
