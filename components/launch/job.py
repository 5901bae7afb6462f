"""A job, wherever it runs: what is requested of it, and how it ended. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from switchpoint.components.recipe.cluster import Cluster
from switchpoint.components.recipe.digest import digest_of

ON_ONE_MACHINE = Cluster()


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """The request to run `python -m module arguments` in some processes, with its name, labels, logs and resources."""

    name: str
    """Deterministic, STEP-DIGEST: who starts it again on a cluster finds it by this name."""
    module: str
    arguments: tuple[str, ...]
    log_folder: Path
    num_processes: int = 1
    num_threads: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables. Nothing secret: on a cluster anybody can read them."""
    cluster: Cluster = ON_ONE_MACHINE
    max_restarts: int = 3
    labels: Mapping[str, str] = field(default_factory=dict)
    """Short values, to be selected by on a cluster: study, step."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What it belongs to: arms, output, the run in MLflow."""
    content: str = ""
    """The digest of what it is told beside its arguments: the job's file."""
    is_done: Callable[[], bool] = lambda: False
    """Whether the output is there: a job of this name that completed without it is made again."""

    @property
    def role(self) -> str:
        """The name of TorchX's role, letters and digits only: TorchX and Volcano make a shell variable of it."""
        role = self.module.split(".")[-2]
        assert role.isalnum(), role
        return role

    @property
    def content_digest(self) -> str:
        """The digest by which jobs of the same name are compared: equal if they do the same."""
        return digest_of([self.module, list(self.arguments), self.num_processes, self.content])


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How a job ended."""

    succeeded: bool
    reason: str = ""
    """What is known of a failure. Empty: nothing is known."""
    log: Path
    """What the first failed replica (or replica 0) wrote to its standard error."""
    killed_by: str = ""
    """The signal that ended one of its processes before this one ended any."""
    cause: str = ""
    """What the cluster did to it: pre-emption, lack of memory, an image that is not there. Empty: nothing is known."""
    may_resume: bool = True
    """Whether the cause may pass, so that a retry may succeed."""
    disrupted: bool = False
    """Whether the cluster took pods away that were well (pre-emption, eviction, drain, a lost node): no failure, so it
    is not counted among `training.max_restarts`."""


class Superseded(RuntimeError):
    """Another study's job of the same name ran until now: the remaining work must be worked out again."""
