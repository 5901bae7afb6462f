"""A stub of Kubeflow Pipelines' REST API (v2beta1): it keeps what it is sent, and answers as the real one does.

Each behaviour names the file of kubeflow/pipelines 2.17.0 that it was read in, and says where it was seen on a running
backend, too. What the real one was not seen or read to do stands here as a refusal (404), never as a guess.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from switchpoint.pipelines.backend_rules import problems

TOKEN = "a-token-of-this-test"
MLFLOW = "http://mlflow.test"
"""Of KFP's own plugin."""
RUN_FIELDS = {
    "experiment_id", "display_name", "description", "pipeline_version_reference", "runtime_config", "service_account",
    "plugins_input",
}  # fmt: skip


ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
TASKS = ("root-driver", "root", "root(0)", "plan-driver", "plan", "plan(0)", "executor", "executor(0)", "for-loop-2")
"""Nodes of Argo's that are none of our tasks, as the API lists them (common/util/workflow.go:906; seen)."""


class KFPStub:
    """What it holds. `states` are told one after the other by GET runs/ID; the last one stays."""

    def __init__(self) -> None:
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.states: list[str] = ["SUCCEEDED"]
        self.tasks: dict[str, str] = {"train-gb": "RUNNING"}
        """Our tasks that the API lists among Argo's nodes, and their states."""
        self.calls: list[str] = []
        self.url = ""
        self.tells_health = False
        """To anybody, as the real one does where no proxy stands before it."""
        self.workflow_is_gone = False
        """Deleted, an hour after its end by its TTL or by somebody: runs then keep their last state for ever (seen)."""
        self.create_seconds = 0.0
        """That `POST runs` takes, as where the MLflow plugin is slow."""
        self.native = False
        """Kubernetes-native mode, where a version made through the API is the object PIPELINE-NAME (seen)."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """(status, body)."""
        where = path.removeprefix("/apis/v2beta1/")
        self.calls.append(f"{method} {where}")
        if where == "healthz":
            return 200, {"multi_user": False}
        if where == "pipelines" and method == "GET":
            wanted = _filtered(query)
            found = [one for one in self.pipelines.values() if wanted in (one["display_name"], None)]
            return 200, {"pipelines": found, "total_size": len(found)}
        if where == "pipelines/upload":
            return self._upload(query["name"], None, body)
        if where == "pipelines/upload_version":
            return self._upload(query["name"], query["pipelineid"], body)
        if match := re.fullmatch(r"pipelines/([^/]+)/versions", where):
            wanted = _filtered(query)
            found = [
                one for one in self.versions
                if one["pipeline_id"] == match.group(1) and wanted in (one["display_name"], None)
            ]  # fmt: skip
            start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
            following = {"next_page_token": str(start + size)} if start + size < len(found) else {}
            return 200, {"pipeline_versions": found[start : start + size], "total_size": len(found)} | following
        if where == "experiments":
            return self._experiments(method, query, body)
        if where == "runs" and method == "POST":
            return self._create_run(body)
        if where == "runs":
            wanted = _filtered(query)
            found = [
                one for one in self.runs.values()
                if wanted in (one["display_name"], None) and query.get("experiment_id") in (one["experiment_id"], None)
            ]  # fmt: skip
            return 200, {"runs": found, "total_size": len(found)}
        if match := re.fullmatch(r"runs/([^/:]+)(?::(\w+))?", where):
            return self._run(match.group(1), match.group(2))
        return 404, {"message": f"no such method: {method} {path}"}

    def _upload(self, name: str, pipeline_id: str | None, package: bytes) -> Any:
        """Only parsed: a spec that Argo refuses is taken (template/v2_template.go; seen)."""
        spec, *_ = yaml.safe_load_all(package.decode())
        message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        version = {
            "display_name": name, "pipeline_spec": spec, "name": name, "parameters": sorted(
                message.root.input_definitions.parameters
            ),
        }  # fmt: skip
        if pipeline_id is None:
            pipeline_id = f"pipeline-{len(self.pipelines)}"
            self.pipelines[pipeline_id] = {"pipeline_id": pipeline_id, "display_name": name}
        elif any(one["display_name"] == name for one in self.versions if one["pipeline_id"] == pipeline_id):
            return 409, {"message": f"version {name} already exists"}
        if self.native:
            version["name"] = f"{self.pipelines[pipeline_id]['display_name']}-{name}"
        version |= {"pipeline_id": pipeline_id, "pipeline_version_id": f"version-{len(self.versions)}"}
        self.versions.append(version)
        return 200, self.pipelines[pipeline_id] if name == "upload" else version

    def apply(self, pipeline_name: str, version_name: str, spec: dict[str, Any]) -> None:
        """What `kubectl apply` of Pipeline and PipelineVersion makes, in Kubernetes-native mode (seen)."""
        parameters = sorted(spec["root"]["inputDefinitions"]["parameters"])
        self.pipelines["applied"] = {"pipeline_id": "applied", "display_name": pipeline_name}
        self.versions.append(
            {
                "display_name": version_name, "name": version_name, "pipeline_id": "applied", "pipeline_spec": spec,
                "pipeline_version_id": f"version-{len(self.versions)}", "parameters": parameters,
            }
        )  # fmt: skip

    def _experiments(self, method: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST":
            made = {
                "experiment_id": f"experiment-{len(self.experiments)}", "display_name": body["display_name"],
                "namespace": body.get("namespace", ""),
            }  # fmt: skip
            self.experiments.append(made)
            return 200, made
        wanted = _filtered(query)
        found = [one for one in self.experiments if wanted in (one["display_name"], None)]
        return 200, {"experiments": found, "total_size": len(found)}

    def _create_run(self, body: dict[str, Any]) -> Any:
        unknown = body.keys() - RUN_FIELDS
        if unknown:
            return 400, {"message": f"unknown fields {sorted(unknown)}"}
        reference = body["pipeline_version_reference"]
        version = next(
            (one for one in self.versions if one["pipeline_version_id"] == reference["pipeline_version_id"]), None
        )
        if version is None or version["pipeline_id"] != reference["pipeline_id"]:
            return 404, {"message": "no such pipeline version"}
        extra = body["runtime_config"]["parameters"].keys() - set(version["parameters"])
        if extra:
            return 400, {"message": f"unknown parameters {sorted(extra)}"}
        refused = [str(one) for one in problems(version["pipeline_spec"]) if one.refuses]
        if refused:  # the Workflow is made with the run, and Argo validates it (resource/resource_manager.go; seen)
            return 500, {"message": f"InternalServerError: Failed to create a run: {refused[0]}"}
        run_id = f"run-{len(self.runs)}"
        self.runs[run_id] = body | {"run_id": run_id, "state_history": []}
        time.sleep(self.create_seconds)
        return 200, self.runs[run_id]

    def _run(self, run_id: str, action: str | None) -> Any:
        if run_id not in self.runs:
            return 404, {"message": f"run {run_id} not found"}
        if action == "terminate":
            return self._terminate()
        if action is not None:  # :retry keeps what succeeded, so we do not use it
            return 404, {"message": f"not copied here: {action}"}
        state = self.states.pop(0) if len(self.states) > 1 and not self.workflow_is_gone else self.states[0]
        history = self.runs[run_id]["state_history"]
        if not history or history[-1]["state"] != state:  # storage/run_store.go:618
            history.append({"state": state, "update_time": "2026-01-01T00:00:00Z"})
        names: dict[str, str | None] = dict.fromkeys(TASKS, "SUCCEEDED") | self.tasks | {"report": None}
        tasks = [
            {"display_name": name, "state": of, "start_time": "2026-01-01T00:00:00Z"} for name, of in names.items()
        ]
        # A task that Argo left out has no state (seen). `error` stays empty whatever happened
        # (server/api_converter.go:1564; seen: null).
        found = self.runs[run_id] | {"state": state, "run_details": {"task_details": tasks}}
        if "mlflow" in self.runs[run_id].get("plugins_input", {}):
            url = {"value": f"{MLFLOW}/#/experiments/1/runs/2", "render_as": "URL"}
            found["plugins_output"] = {"mlflow": {"entries": {"run_url": url}, "state": "PLUGIN_SUCCEEDED"}}
        return 200, found

    def _terminate(self) -> Any:
        """The database first, then the Workflow (resource/resource_manager.go:1042, storage/run_store.go:823)."""
        if self.states[0] in (*ENDED, "CANCELING"):
            return 400, {"message": "Failed to terminate a run. Row not found"}
        # The run ends as FAILED when its Workflow has ended; CANCELING stays in its history (seen).
        self.states = ["CANCELING"] if self.workflow_is_gone else ["CANCELING", "FAILED"]
        if self.workflow_is_gone:
            return 500, {
                "message": "InternalServerError: Failed to terminate run due to error terminating its workflow"
            }
        return 200, {}


def _filtered(query: dict[str, str]) -> str | None:
    if "filter" not in query:
        return None
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert predicate["operation"] in ("EQUALS", 1), predicate
    return str(predicate.get("stringValue", predicate.get("string_value")))


@contextmanager
def running_stub() -> Iterator[KFPStub]:
    """Asks for the token."""
    stub = KFPStub()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw, kind = self.rfile.read(length), self.headers.get("Content-Type", "")
            is_open = stub.tells_health and self.path.endswith("/healthz")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not is_open:
                status, answer = 401, {"message": "Unauthenticated"}
            else:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, answer = stub.answer(self.command, parts.path, query, _body(raw, kind))
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()


def _body(raw: bytes, kind: str) -> Any:
    if kind.startswith("multipart/form-data"):
        message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + raw)
        return next(part.get_payload(decode=True) for part in message.get_payload())  # type: ignore[union-attr]
    return json.loads(raw) if raw else None
