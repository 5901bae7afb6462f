"""A kubelet as far as logs go: what an API server asks a node for when somebody reads a pod's log."""

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

NODE = "log-node"


class Logs:
    """Lines by pod; more may be added while somebody follows."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.cut_after: int | None = None
        """A stream that is followed breaks once after so many lines."""
        self.over = False

    def add(self, pod: str, *lines: str) -> None:
        kept = self.lines.setdefault(pod, [])
        for line in lines:
            moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(kept))
            kept.append(f"{moment:%Y-%m-%dT%H:%M:%S.000000000Z} {line}\n")


@contextmanager
def kubelet(api: Any, folder: Path) -> Iterator[Logs]:
    """A node of its own, whose kubelet answers on this machine."""
    logs = Logs()
    key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=kubelet"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            _, kind, _, pod, _ = parts.path.split("/")
            assert kind == "containerLogs"
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self.send_response(200)
            self.end_headers()
            self._write(pod, query.get("follow") == "true", query.get("timestamps") == "true")

        def _write(self, pod: str, follow: bool, timestamps: bool) -> None:
            sent = 0
            while True:
                for line in logs.lines.get(pod, [])[sent:]:
                    self.wfile.write((line if timestamps else line.partition(" ")[2]).encode())
                    self.wfile.flush()
                    sent += 1
                    if follow and logs.cut_after == sent:
                        logs.cut_after = None
                        return
                if not follow or logs.over:
                    return
                time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    core = client.CoreV1Api(api)
    core.create_node({"metadata": {"name": NODE}, "spec": {}})
    core.patch_node_status(
        NODE,
        {
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_address[1]}},
            }
        },
    )
    try:
        yield logs
    finally:
        logs.over = True
        core.delete_node(NODE)
        server.shutdown()
