"""A cluster for somebody at a terminal: if it does not answer, that is a note, and no wait of hours."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from switchpoint.components.launch.site import SITE_VARIABLE, read_site
from switchpoint.components.recipe.errors import BadInput

if TYPE_CHECKING:
    from switchpoint.components.launch.cluster_api import ClusterAPI

Result = TypeVar("Result")


def pods_with(selector: str, console: Console) -> "tuple[ClusterAPI, list[dict[str, Any]]] | None":
    """Return the cluster and its pods with these labels; None if no cluster is known, or it does not answer."""
    if not os.environ.get(SITE_VARIABLE):
        return None
    return ask_cluster(lambda api: (api, api.pods_by_label(selector)), console, "pods cannot be looked at")


def ask_cluster(ask: "Callable[[ClusterAPI], Result]", console: Console, problem: str) -> Result | None:
    """Return what the site's cluster answers; None, with `problem` and its cause as a note, if it does not answer."""
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    from switchpoint.components.launch.cluster_api import COMMAND_AWAY_SECONDS, ClusterAPI

    try:
        return ask(ClusterAPI(read_site().namespace, COMMAND_AWAY_SECONDS))
    except (BadInput, ApiException, HTTPError, OSError) as error:
        reason = error.problem if isinstance(error, BadInput) else str(error).splitlines()[0]
        console.print(f"note: {problem}: {reason}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        return None
