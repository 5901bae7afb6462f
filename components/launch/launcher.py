"""The start of a job on the site's scheduler: on this machine, or on a cluster."""

from switchpoint.components.launch.job import JobEnd, JobRequest
from switchpoint.components.launch.site import read_site, scheduler
from switchpoint.components.launch.slots import num_slots
from switchpoint.components.recipe.cluster import Cluster


def run_job(request: JobRequest) -> JobEnd:
    """Run the job to its end. Raise BadInput where site or cluster does not let it, and Superseded on a cluster."""
    if scheduler() == "local":
        from switchpoint.components.launch.local import run_local_job

        return run_local_job(
            request.name, request.module, request.arguments, request.log_folder, num_processes=request.num_processes,
            num_threads=request.num_threads, variables=request.variables,
        )  # fmt: skip
    from switchpoint.components.launch.cluster_job import run_on_cluster

    return run_on_cluster(request, read_site())


def num_side_by_side(cluster: Cluster) -> int:
    """Return how many processes that share nothing, such as evaluations, run at a time on this machine or in a pod."""
    return num_slots() if scheduler() == "local" else cluster.processes_per_node
