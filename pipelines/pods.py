"""Pods for somebody at a terminal: a cluster that does not answer is a note, and no wait of hours."""

import os
from typing import TYPE_CHECKING, Any

from rich.console import Console

from components.launch.site import SITE_VARIABLE, read_site
from components.recipe.errors import BadInput

if TYPE_CHECKING:
    from components.launch.cluster_api import ClusterAPI


def pods_with(selector: str, console: Console) -> "tuple[ClusterAPI, list[dict[str, Any]]] | None":
    """The cluster and its pods with these labels; None where no cluster is known, or it does not answer."""
    if not os.environ.get(SITE_VARIABLE):
        return None
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    from components.launch.cluster_api import COMMAND_AWAY_SECONDS, ClusterAPI

    try:
        api = ClusterAPI(read_site().namespace, COMMAND_AWAY_SECONDS)
        return api, api.pods_by_label(selector)
    except (BadInput, ApiException, HTTPError, OSError) as error:
        reason = error.problem if isinstance(error, BadInput) else str(error).splitlines()[0]
        console.print(
            f"note: pods cannot be looked at: {reason}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )
        return None
