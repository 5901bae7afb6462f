"""Kubeflow Pipelines' API, as far as a study needs it: register the pipeline, run it, follow and cancel a run."""

import contextlib
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from switchpoint.components.recipe.errors import BadInput
from switchpoint.pipelines.compile import PIPELINE_NAME, SPEC, version_name
from switchpoint.pipelines.site import NAMESPACE_VARIABLE

URL_VARIABLE, TOKEN_VARIABLE = "SWITCHPOINT_KFP_URL", "SWITCHPOINT_KFP_TOKEN"
PAGE_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"
"""KFP's own variable: the address at which people open its page, if that is not the API's."""
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
DELETED = "DELETED"
"""Not KFP's: the server has no such run (any more)."""
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED", DELETED)
SERVICE_ACCOUNT_VARIABLE = "SWITCHPOINT_KFP_SERVICE_ACCOUNT"
TIMEOUT_SECONDS = 20
CREATE_SECONDS = 120
"""The time limit of `POST runs` alone: the API server waits for MLflow if KFP's plugin is on."""
FIND_SECONDS = 60.0
"""How long a run may take to appear, if the server did not answer in time whether it was made."""
TASKS = (
    "plan", "prepare-text", "train-tokenizer", "tokenise", "build-blend", "prepare-evaluation", "train-base",
    "train-gb", "join", "train-qb", "join-arms", "derive", "evaluate", "report", "check-outcome",
)  # fmt: skip
"""The pipeline's tasks, as KFP names them, in the order of the DAG."""
NOT_BEGUN = ("None", "RUNTIME_STATE_UNSPECIFIED")
"""States of a task that has not begun. Argo's Omitted: what is left out, because something before it failed, has no
state in the API."""
Result = TypeVar("Result")


class NoAnswer(BadInput):
    """The server did not answer: whether it did what was requested is not known."""


class NotThere(BadInput):
    """The server answers that there is no such thing (404)."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run of the pipeline, as the server reports it. It reports no reason of a failure; the store does."""

    run_id: str
    state: str
    """KFP's own state, but CANCELED for a run that was cancelled: the backend ends those as FAILED, and only its
    history tells that CANCELING came before."""
    url: str
    mlflow_url: str
    """The page of the run that KFP's own MLflow plugin made; empty without it."""
    tasks: tuple[tuple[str, str], ...]
    """Names and states of Argo's nodes, in the order of their start."""

    @property
    def is_over(self) -> bool:
        return self.state in ENDED

    @property
    def is_ending(self) -> bool:
        """Whether it was cancelled and has not ended. If its Workflow is gone, it stays so for ever."""
        return self.state == "CANCELING"

    def our_tasks(self) -> dict[str, dict[str, int]]:
        """Return the pipeline's own tasks among Argo's nodes, in the order of the DAG: how many are in which state.

        In a loop a task has a node for each item. Drivers, loops, iterations and wrappers of retries are left out.
        """
        found: dict[str, dict[str, int]] = {name: {} for name in TASKS}
        for name, state in self.tasks:
            if name in found and state not in NOT_BEGUN:
                found[name][state] = found[name].get(state, 0) + 1
        return {name: states for name, states in found.items() if states}


class KFPServer:
    """A server at the URL in SWITCHPOINT_KFP_URL with the token in SWITCHPOINT_KFP_TOKEN, or from inside the cluster.

    Raise BadInput if the server cannot be reached or refuses.
    """

    def __init__(self, url: str = "") -> None:
        self.given_url = url or os.environ.get(URL_VARIABLE, "")
        """The URL that was given. Empty: from inside the cluster."""
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
        """Send one request first: KFP's client tries five times and then hides why it was refused."""
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
        """Check that the server answers, and takes the token: its health is told without one."""
        self._asked(lambda: self._client._healthz_api.healthz_service_get_healthz())
        self._asked(lambda: self._client.list_experiments(page_size=1, namespace=self._namespace))

    def ensure_pipeline(self, spec: Path = SPEC) -> str:
        """Return the id of the version that has this spec, uploaded if it is new; its name is the spec's digest."""
        name = version_name(spec)
        pipeline_id = self._asked(lambda: self._client.get_pipeline_id(PIPELINE_NAME))
        if pipeline_id is None:
            made = self._asked(lambda: self._client.upload_pipeline(str(spec), pipeline_name=PIPELINE_NAME))
            pipeline_id = made.pipeline_id
        # In Kubernetes-native mode `kubectl apply` names a version NAME, the API PIPELINE-NAME.
        for version in self._versions(pipeline_id):
            if {version.display_name, getattr(version, "name", None)} & {name, f"{PIPELINE_NAME}-{name}"}:
                return str(version.pipeline_version_id)
        uploaded = self._asked(lambda: self._client.upload_pipeline_version(str(spec), name, pipeline_id=pipeline_id))
        return str(uploaded.pipeline_version_id)

    def _versions(self, pipeline_id: str) -> Iterator[Any]:
        token = ""
        while True:
            ask = partial(self._client.list_pipeline_versions, pipeline_id, page_token=token, page_size=100)
            page: Any = self._asked(ask)
            yield from page.pipeline_versions or []
            token = page.next_page_token or ""
            if not token:
                return

    def submit(self, study_name: str, run_name: str, version_id: str, parameters: dict[str, Any]) -> str:
        """Start a run in the experiment named by the study; return its id.

        Raise NoAnswer if the server neither answered in time nor has a run of this name.
        """
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
        create = self._client._run_api.run_service_create_run
        try:
            return str(self._asked(lambda: create(run, _request_timeout=CREATE_SECONDS)).run_id)
        except NoAnswer:
            deadline = time.monotonic() + FIND_SECONDS
            while True:
                with contextlib.suppress(NoAnswer):
                    found = self._find_in(experiment.experiment_id, run_name)
                    if found is not None:
                        return found
                if time.monotonic() > deadline:
                    raise
                time.sleep(min(5.0, FIND_SECONDS / 4))

    def find(self, study_name: str, run_name: str) -> str | None:
        """Return the id of the run with this name in the study's experiment; None where there is none."""
        experiment = self._asked(lambda: self._client.create_experiment(study_name, namespace=self._namespace))
        return self._find_in(experiment.experiment_id, run_name)

    def _find_in(self, experiment_id: str, run_name: str) -> str | None:
        wanted = json.dumps(
            {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": run_name}]}
        )  # the filter of KFP's list calls
        found = self._asked(lambda: self._client.list_runs(experiment_id=experiment_id, filter=wanted, page_size=10))
        return next((str(run.run_id) for run in found.runs or [] if run.display_name == run_name), None)

    def state(self, run_id: str) -> RunState:
        """Return the state of the run, DELETED if the server has none of that id.

        Raise BadInput if the server does not tell.
        """
        url = page_of(self.given_url, run_id)
        try:
            run = self._asked(lambda: self._client.get_run(run_id), is_read=True)
        except NotThere:
            return RunState(run_id=run_id, state=DELETED, url=url, mlflow_url="", tasks=())
        details = (run.run_details and run.run_details.task_details) or []
        started = sorted(details, key=lambda one: str(one.start_time or one.create_time or ""))
        plugins = run.plugins_output or {}
        mlflow = plugins.get("mlflow") if isinstance(plugins, dict) else None
        state = str(run.state or "PENDING")
        if state == "FAILED" and "CANCELING" in {str(one.state) for one in run.state_history or []}:
            state = "CANCELED"
        return RunState(
            run_id=run_id, state=state, url=url, mlflow_url=_text_of(mlflow, "run_url"),
            tasks=tuple((str(one.display_name), str(one.state)) for one in started),
        )  # fmt: skip

    def cancel(self, run_id: str) -> RunState:
        """Cancel a run, unless it is over; return its state before. Raise BadInput if the server refuses.

        Where the run's Workflow is gone, the server answers with an error and has cancelled the run all the same: it
        writes CANCELING before it looks for the Workflow. A run may also end just before.
        """
        state = self.state(run_id)
        if state.is_over or state.is_ending:
            return state
        try:
            self._asked(lambda: self._client.terminate_run(run_id))
        except BadInput:
            state = self.state(run_id)
            if not state.is_over and not state.is_ending:
                raise
        return state

    def _asked(self, ask: Callable[[], Result], *, is_read: bool = False) -> Result:
        """Return the server's answer. `is_read`: nothing changes, so an error of the server is no refusal, but no
        answer yet.
        """
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with _quiet():
                return ask()
        except ApiException as error:
            is_away = error.status in ((429, 500, 502, 503, 504) if is_read else (502, 503, 504))
            kind = NoAnswer if is_away else NotThere if error.status == 404 else BadInput
            raise kind(
                f"Kubeflow Pipelines refuses this: {error.status} {_reason(error)}", field=URL_VARIABLE,
                given=self._host,
            ) from None  # fmt: skip
        except BadInput:
            raise
        except (HTTPError, OSError, ValueError, RuntimeError) as error:
            raise NoAnswer(
                f"Kubeflow Pipelines does not answer ({type(error).__name__}: {str(error)[:200]})", field=URL_VARIABLE,
                given=self._host, allowed="the URL of its page or API, such as http://localhost:8080",
            ) from None  # fmt: skip


def page_of(given_url: str, run_id: str) -> str:
    """Return the page of the run; from inside the cluster, if the page is not known, its part of the address."""
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
    """Give every request a time limit: KFP's client waits for ever on a connection that is half open."""
    request = rest.request

    def limited(*arguments: Any, _request_timeout: Any = None, **options: Any) -> Any:
        seconds = _request_timeout or TIMEOUT_SECONDS
        # As a pair: the generated client ignores a single number that is no int.
        return request(*arguments, **options, _request_timeout=(seconds, seconds))

    rest.request = limited


def _has_mlflow() -> bool:
    return bool(os.environ.get("SWITCHPOINT_KFP_MLFLOW"))


def _text_of(value: Any, name: str) -> str:
    """Return a field of a plugin's output (`V2beta1PluginOutput`); empty if it is not there."""
    entry = (getattr(value, "entries", None) or {}).get(name)
    return str(getattr(entry, "value", None) or "")


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message" if "message" in json.loads(error.body) else "error"])[:300]
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence KFP's client, which prints links, and warns of its own versions."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
