"""Kubeflow Pipelines' API, as far as a study needs it: register the pipeline, run it, follow, retry and end a run."""

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from components.recipe.errors import BadInput
from pipelines.compile import PIPELINE_NAME, SPEC, version_name
from pipelines.site import NAMESPACE_VARIABLE

URL_VARIABLE, TOKEN_VARIABLE = "SWITCHPOINT_KFP_URL", "SWITCHPOINT_KFP_TOKEN"
PAGE_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"
"""KFP's own: where people open its page, if that is not where its API is."""
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
SERVICE_ACCOUNT_VARIABLE = "SWITCHPOINT_KFP_SERVICE_ACCOUNT"
TIMEOUT_SECONDS = 20
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run of the pipeline, as the server tells it."""

    run_id: str
    state: str
    error: str
    url: str
    mlflow_url: str
    """Of the run that KFP's own MLflow plugin made; empty without it."""
    tasks: tuple[tuple[str, str], ...]
    """Names and states, in the order of their start."""

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


class KFPServer:
    """By the URL in SWITCHPOINT_KFP_URL with the token in SWITCHPOINT_KFP_TOKEN, or from inside the cluster.

    Raises BadInput where the server cannot be reached or refuses.
    """

    def __init__(self, url: str = "") -> None:
        self.given_url = url or os.environ.get(URL_VARIABLE, "")
        """Empty: from inside the cluster."""
        self._host = self.given_url or _in_cluster()
        self._namespace = os.environ.get(NAMESPACE_VARIABLE) or None
        self._client = self._asked(self._connect)

    def _connect(self) -> Any:
        from kfp.client import (
            KF_PIPELINES_SA_TOKEN_ENV,
            KF_PIPELINES_SA_TOKEN_PATH,
            Client,
            ServiceAccountTokenVolumeCredentials,
        )

        token = os.environ.get(TOKEN_VARIABLE) or None
        mounted = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH
        # The token of a pod's account; a KFP with one user asks for none.
        use_mounted = not token and not self.given_url and Path(mounted).exists()
        self._look(token)
        client = Client(
            host=self._host, existing_token=token,
            credentials=ServiceAccountTokenVolumeCredentials(mounted) if use_mounted else None,
        )  # fmt: skip
        _limit_time(client._run_api.api_client.rest_client)
        return client

    def _look(self, token: str | None) -> None:
        """KFP's client asks five times and then hides why it was refused."""
        import requests

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.get(
            f"{self._host.rstrip('/')}/apis/v2beta1/healthz", headers=headers, timeout=TIMEOUT_SECONDS
        )
        if not answer.ok:
            reason = f"{answer.status_code} {answer.reason}"
            raise BadInput(
                f"Kubeflow Pipelines refuses this: {reason}", field=URL_VARIABLE, given=self._host,
                allowed=f"the URL of its API, and a token in {TOKEN_VARIABLE} where it asks for one",
            )  # fmt: skip

    @property
    def url(self) -> str:
        return self._host

    def check(self) -> None:
        """That it answers, and takes the token: its health is told without one."""
        self._asked(lambda: self._client._healthz_api.healthz_service_get_healthz())
        self._asked(lambda: self._client.list_experiments(page_size=1, namespace=self._namespace))

    def ensure_pipeline(self, spec: Path = SPEC) -> str:
        """The id of the version that has this spec, uploaded if it is new; its name is the spec's digest."""
        name = version_name(spec)
        pipeline_id = self._asked(lambda: self._client.get_pipeline_id(PIPELINE_NAME))
        if pipeline_id is None:
            made = self._asked(lambda: self._client.upload_pipeline(str(spec), pipeline_name=PIPELINE_NAME))
            pipeline_id = made.pipeline_id
        wanted = json.dumps(
            {"predicates": [{"operation": "EQUALS", "key": "name", "stringValue": name}]}
        )  # the filter of KFP's list calls
        found = self._asked(lambda: self._client.list_pipeline_versions(pipeline_id, filter=wanted))
        for version in found.pipeline_versions or []:
            if name in (version.display_name, getattr(version, "name", None)):
                return str(version.pipeline_version_id)
        uploaded = self._asked(lambda: self._client.upload_pipeline_version(str(spec), name, pipeline_id=pipeline_id))
        return str(uploaded.pipeline_version_id)

    def submit(self, study_name: str, run_name: str, version_id: str, parameters: dict[str, Any]) -> str:
        """Starts a run in the experiment named by the study; returns its id."""
        import kfp_server_api as api

        experiment = self._asked(lambda: self._client.create_experiment(study_name, namespace=self._namespace))
        pipeline_id = self._asked(lambda: self._client.get_pipeline_id(PIPELINE_NAME))
        run = api.V2beta1Run(
            experiment_id=experiment.experiment_id, display_name=run_name,
            pipeline_version_reference=api.V2beta1PipelineVersionReference(
                pipeline_id=pipeline_id, pipeline_version_id=version_id
            ),
            runtime_config=api.V2beta1RuntimeConfig(parameters=parameters),
            service_account=os.environ.get(SERVICE_ACCOUNT_VARIABLE) or None,
            # KFP's own MLflow plugin, where it is on, puts its runs beside ours.
            plugins_input={"mlflow": {"experiment_name": study_name}} if _has_mlflow() else None,
        )  # fmt: skip
        made = self._asked(lambda: self._client._run_api.run_service_create_run(run))
        return str(made.run_id)

    def state(self, run_id: str) -> RunState:
        run = self._asked(lambda: self._client.get_run(run_id))
        details = (run.run_details and run.run_details.task_details) or []
        started = sorted(details, key=lambda one: str(one.start_time or one.create_time or ""))
        plugins = run.plugins_output or {}
        mlflow = plugins.get("mlflow") if isinstance(plugins, dict) else None
        return RunState(
            run_id=run_id, state=str(run.state or "PENDING"), error=(run.error and run.error.message) or "",
            url=page_of(self.given_url, run_id), mlflow_url=_text_of(mlflow, "run_url"),
            tasks=tuple((str(one.display_name), str(one.state)) for one in started),
        )  # fmt: skip

    def cancel(self, run_id: str) -> None:
        """Refused for a run that is over, or is being cancelled."""
        self._asked(lambda: self._client.terminate_run(run_id))

    def retry(self, run_id: str) -> None:
        """From the tasks that failed on, in the same run."""
        self._asked(lambda: self._client._run_api.run_service_retry_run(run_id))

    def _asked(self, ask: Callable[[], Result]) -> Result:
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with _quiet():
                return ask()
        except ApiException as error:
            raise BadInput(
                f"Kubeflow Pipelines refuses this: {error.status} {_reason(error)}", field=URL_VARIABLE,
                given=self._host,
            ) from None  # fmt: skip
        except BadInput:
            raise
        except (HTTPError, OSError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"Kubeflow Pipelines does not answer ({type(error).__name__}: {str(error)[:200]})", field=URL_VARIABLE,
                given=self._host, allowed="the URL of its page or API, such as http://localhost:8080",
            ) from None  # fmt: skip


def page_of(given_url: str, run_id: str) -> str:
    """Where a person finds the run; from inside the cluster, where the page is not known, its part of the address."""
    page = os.environ.get(PAGE_VARIABLE) or given_url
    return f"{page.rstrip('/')}/#/runs/details/{run_id}"


def _in_cluster() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return IN_CLUSTER
    raise BadInput(
        "it is not known where Kubeflow Pipelines is", field=URL_VARIABLE,
        allowed="the URL of its page or API, such as http://localhost:8080",
    )  # fmt: skip


def _limit_time(rest: Any) -> None:
    """KFP's client waits for ever on a connection that is half open."""
    request = rest.request

    def limited(*arguments: Any, **options: Any) -> Any:
        return request(*arguments, **options | {"_request_timeout": options.get("_request_timeout") or TIMEOUT_SECONDS})

    rest.request = limited


def _has_mlflow() -> bool:
    return bool(os.environ.get("SWITCHPOINT_KFP_MLFLOW"))


def _text_of(value: Any, name: str) -> str:
    """A field of a plugin's output (`V2beta1PluginOutput`); empty where it is not there."""
    entry = (getattr(value, "entries", None) or {}).get(name)
    return str(getattr(entry, "value", None) or "")


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message" if "message" in json.loads(error.body) else "error"])[:300]
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """KFP's client prints links."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
