"""What training pods request from a cluster: in no digest, because it changes location and rounding only."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from switchpoint.components.recipe.fields import Config, Count
from switchpoint.components.recipe.quantity import Cpus
from switchpoint.components.recipe.training import Processes, Seconds

Label = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_./-]*[A-Za-z0-9])?$")]
"""The key of a label or taint, or the name of a device."""
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")]
ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
"""The name of an object in the cluster."""
NO_DEVICE = "none"
Gibibytes = Annotated[float, Field(gt=0, le=1_000_000)]


class Toleration(Config):
    """A Kubernetes toleration: pods may run on nodes with this taint."""

    key: Label | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: LabelValue | None = None
    """The value of the taint, with `operator: Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Toleration":
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("`operator: Equal` needs a `value:`, and `Exists` has none")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("`operator: Equal` needs a `key:`")
        return self

    def spec(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class Cluster(Config):
    """A pod for each node; `training.num_processes` over `processes_per_node` gives the nodes."""

    processes_per_node: Processes = 1
    """Training processes of a pod, one GPU each."""
    min_nodes: Count | None = None
    """Elastic: a run starts, and continues, with this many nodes or more. Another number of nodes has other rounding.
    Not given: all nodes or none."""
    device: Label = "nvidia.com/gpu"
    """The device that each process has one of. none: CPUs only."""
    cpus_per_node: Cpus = 4.0
    """CPUs of each pod: a number such as 96 or 0.5, or millicores such as 500m."""
    memory_gib_per_node: Gibibytes = 16.0
    shared_memory_gib: Gibibytes = 8.0
    """GiB of each pod's /dev/shm, which counts as memory of the pod."""
    scratch_gib: Gibibytes = 50.0
    """GiB of each pod's own disk: the copy of an object store, compiled kernels."""
    devices: dict[Label, Count] = Field(default_factory=dict)
    """Further devices of the node for each pod, such as `rdma/hca: 8`."""
    queue: ObjectName = "default"
    """The Volcano queue of the training job."""
    priority_class: ObjectName | None = None
    node_selector: dict[Label, LabelValue] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)
    pending_seconds: Seconds = 3600.0
    """How long pods may wait to run, in seconds: after that the task fails, with what keeps them from running."""

    @property
    def millicpus_per_node(self) -> int:
        """The millicores of a pod. Exact: `cpus_per_node` is a whole number of millicores."""
        return round(self.cpus_per_node * 1000)

    def num_nodes(self, num_processes: int) -> int:
        """Return the pods of a job. Fewer processes than a node holds are one pod."""
        return max(1, num_processes // self.processes_per_node)

    def without_devices(self) -> "Cluster":
        """Return the cluster for what needs no GPU."""
        return self.model_copy(update={"device": NO_DEVICE, "devices": {}, "processes_per_node": 1, "min_nodes": None})

    def world_sizes(self, num_processes: int) -> list[int]:
        """Return the numbers of processes with which a run may continue."""
        nodes = self.num_nodes(num_processes)
        if self.min_nodes is None or nodes == 1:
            return [num_processes]
        return [count * self.processes_per_node for count in range(min(self.min_nodes, nodes), nodes + 1)]


def check_nodes(cluster: Cluster, num_processes: int) -> None:
    """Raise ValueError if the processes do not fill whole pods."""
    if num_processes > cluster.processes_per_node and num_processes % cluster.processes_per_node:
        raise ValueError(
            f"num_processes {num_processes} do not fill whole nodes of {cluster.processes_per_node} "
            "(`cluster.processes_per_node`)"
        )
