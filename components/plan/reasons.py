"""Why outputs are made that the last plan of the same study had otherwise: the fields that changed since."""

from collections.abc import Sequence

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.plan_file import last_plan
from switchpoint.components.store.store import Store

MAX_COMPARED = 500
"""The largest number of missing outputs that are compared: each is compared with all of its kind, and people read few.
"""


def reasons(plan: Plan, store: Store, missing: Sequence[Identity]) -> dict[str, list[str]]:
    """Return, by the digests of missing outputs, the fields in which each differs from the nearest output of the
    study's last plan; none where the study was not planned before. Other studies of the store are no measure.
    """
    last = last_plan(plan, store) if missing else None
    if last is None:
        return {}
    paths = [identity.path for identity in last.identities()]
    return {identity.digest: store.why(identity, paths) for identity in missing[:MAX_COMPARED]}
