"""A stub of Kubeflow Pipelines' REST API (v2beta1), which keeps what it is sent and refuses what the real one would."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

TOKEN = "a-token-of-this-test"
MLFLOW = "http://mlflow.test"
"""Of KFP's own plugin."""
RUN_FIELDS = {
    "experiment_id", "display_name", "description", "pipeline_version_reference", "runtime_config", "service_account",
    "plugins_input",
}  # fmt: skip


class KFPStub:
    """What it holds. `states` are told one after the other by GET runs/ID; the last one stays."""

    def __init__(self) -> None:
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.states: list[str] = ["SUCCEEDED"]
        self.calls: list[str] = []
        self.url = ""
        self.tells_health = False
        """To anybody, as the real one does where no proxy stands before it."""

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
            return 200, {"pipeline_versions": found, "total_size": len(found)}
        if where == "experiments":
            return self._experiments(method, query, body)
        if where == "runs" and method == "POST":
            return self._create_run(body)
        if match := re.fullmatch(r"runs/([^/:]+)(?::(\w+))?", where):
            return self._run(match.group(1), match.group(2))
        return 404, {"message": f"no such method: {method} {path}"}

    def _upload(self, name: str, pipeline_id: str | None, package: bytes) -> Any:
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
        version |= {"pipeline_id": pipeline_id, "pipeline_version_id": f"version-{len(self.versions)}"}
        self.versions.append(version)
        return 200, self.pipelines[pipeline_id] if name == "upload" else version

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
        run_id = f"run-{len(self.runs)}"
        self.runs[run_id] = body | {"run_id": run_id}
        return 200, self.runs[run_id]

    def _run(self, run_id: str, action: str | None) -> Any:
        if run_id not in self.runs:
            return 404, {"message": f"run {run_id} not found"}
        if action == "terminate":
            if self.states[0] in ("SUCCEEDED", "FAILED", "CANCELED", "CANCELING"):
                return 400, {"message": f"a run that is {self.states[0]} cannot be terminated"}
            self.states = ["CANCELED"]
            return 200, {}
        if action == "retry":
            if self.states[0] not in ("FAILED", "CANCELED"):
                return 400, {"message": f"a run that is {self.states[0]} cannot be retried"}
            self.states = ["RUNNING"]
            return 200, {}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        task = {"display_name": "train-gb", "state": state, "start_time": "2026-01-01T00:00:00Z"}
        found = self.runs[run_id] | {"state": state, "run_details": {"task_details": [task]}}
        if "mlflow" in self.runs[run_id].get("plugins_input", {}):
            url = {"value": f"{MLFLOW}/#/experiments/1/runs/2", "render_as": "URL"}
            found["plugins_output"] = {"mlflow": {"entries": {"run_url": url}, "state": "PLUGIN_SUCCEEDED"}}
        if state == "FAILED":
            found["error"] = {"code": 9, "message": "task train-gb failed"}
        return 200, found


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
