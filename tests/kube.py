"""A real Kubernetes API server for tests: etcd and kube-apiserver on this machine alone; no pod ever runs.

KUBEBUILDER_ASSETS names the folder of both programs, SWITCHPOINT_CRDS the folder with the custom resource definitions
of Volcano and Kubeflow Pipelines (in `kubernetes-1.20/` those that an old server takes).
"""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from kubernetes import client

ADMIN = secrets.token_hex(16)
AUDITED = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}  # fmt: skip


@dataclass(frozen=True)
class Kube:
    """The server, and a kubeconfig of somebody who may do anything."""

    url: str
    kubeconfig: Path
    client: Any
    audit_log: Path
    """What service accounts asked for: a line of JSON for each request."""

    def namespace(self, name: str) -> str:
        """A new one, with the service account that every namespace has."""
        core = client.CoreV1Api(self.client)
        core.create_namespace({"metadata": {"name": name}})
        core.create_namespaced_service_account(name, {"metadata": {"name": "default"}})
        return name


def programs() -> tuple[Path, Path]:
    """etcd and kube-apiserver; skips the test where they are not there."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        pytest.skip("no Kubernetes API server: KUBEBUILDER_ASSETS names the folder of etcd and kube-apiserver")
    found = Path(folder) / "etcd", Path(folder) / "kube-apiserver"
    for program in found:
        if not program.exists():
            pytest.skip(f"no Kubernetes API server: {program} is missing")
    return found


def crd_folder() -> Path:
    folder = os.environ.get("SWITCHPOINT_CRDS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no custom resource definitions: SWITCHPOINT_CRDS names their folder")
    return Path(folder)


def crd(name: str, *, for_server: bool = False) -> dict[str, Any]:
    """As data, such as `batch.volcano.sh_jobs`."""
    folder = crd_folder()
    old = folder / "kubernetes-1.20" / f"{name}.yaml"
    found: dict[str, Any] = yaml.safe_load(
        (old if for_server and old.exists() else folder / f"{name}.yaml").read_text()
    )
    return found


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def running_server(folder: Path) -> Iterator[Kube]:
    etcd, apiserver = programs()
    crds = [crd(path.stem, for_server=True) for path in sorted(crd_folder().glob("*.yaml"))]
    clients, peers, port = _free_ports(3)
    key, public = folder / "sa.key", folder / "sa.pub"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{ADMIN},admin,admin,system:masters\n")
    (folder / "audit.yaml").write_text(yaml.safe_dump(AUDITED))
    commands = [
        [
            etcd, "--data-dir", folder / "etcd", "--listen-client-urls", f"http://127.0.0.1:{clients}",
            "--advertise-client-urls", f"http://127.0.0.1:{clients}", "--listen-peer-urls", f"http://127.0.0.1:{peers}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers}",
            "--initial-cluster", f"default=http://127.0.0.1:{peers}", "--unsafe-no-fsync",
        ],
        [
            apiserver, f"--etcd-servers=http://127.0.0.1:{clients}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder / 'certs'}",
            f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={key}", f"--service-account-key-file={public}",
            "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true", "--endpoint-reconciler-type=none",
            f"--audit-policy-file={folder / 'audit.yaml'}", f"--audit-log-path={folder / 'audit.log'}",
        ],
    ]  # fmt: skip
    servers = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
                servers.append(subprocess.Popen(command, stdout=log, stderr=log))
        kube = _connected(f"https://127.0.0.1:{port}", folder)
        _wait(kube, servers, folder)
        extensions = client.ApiextensionsV1Api(kube.client)
        for definition in crds:
            extensions.create_custom_resource_definition(definition)
        _wait_for_crds(kube, crds)
        yield kube
    finally:
        for server in reversed(servers):
            server.terminate()
        for server in reversed(servers):
            server.wait(timeout=60)


def _connected(url: str, folder: Path) -> Kube:
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(kubeconfig_of(url, ADMIN))
    return Kube(url, kubeconfig, client_of(url, ADMIN), folder / "audit.log")


def kubeconfig_of(url: str, token: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
    )  # fmt: skip


def client_of(url: str, token: str) -> Any:
    configuration = client.Configuration(host=url, api_key={"authorization": f"Bearer {token}"})
    configuration.verify_ssl = False
    return client.ApiClient(configuration)


def _wait(kube: Kube, servers: "list[subprocess.Popen[bytes]]", folder: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            client.CoreV1Api(kube.client).read_namespace("default", _request_timeout=2)
            return
        except Exception:  # connection refused, then not ready, then not found
            for server in servers:
                assert server.poll() is None, "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
            assert time.monotonic() < deadline, (folder / "kube-apiserver.log").read_text()[-3000:]
            time.sleep(0.3)


def _wait_for_crds(kube: Kube, crds: list[dict[str, Any]]) -> None:
    deadline = time.monotonic() + 60
    custom = client.CustomObjectsApi(kube.client)
    for definition in crds:
        spec = definition["spec"]
        while True:
            try:
                custom.list_cluster_custom_object(spec["group"], spec["versions"][0]["name"], spec["names"]["plural"])
                break
            except client.ApiException:
                assert time.monotonic() < deadline, spec["names"]["plural"]
                time.sleep(0.2)
