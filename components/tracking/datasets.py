"""Dataset inputs: the blends and sources that a run is trained on, by our digests."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Phase

CONTEXT = "mlflow.data.context"
"""MLflow's own tag for what a dataset is used for."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    name: str
    identity: Identity
    phases: tuple[str, ...]
    """The phases that use it, as gb and qb."""
    profile: str
    """JSON: a blend's weights; empty for a source."""


def datasets_of(plan: Plan, phases: Iterable[Phase]) -> list[Dataset]:
    """Return every blend of the phases, then every source that they draw, each once (pure)."""
    used: dict[tuple[str, str], tuple[Identity, list[str], str]] = {}
    drawn = list(phases)
    for phase in drawn:
        weights = json.dumps({key: float(weight) for key, weight in phase.weights.items()})
        blend = phase.blend_identity
        used.setdefault((phase.blend, blend.digest), (blend, [], weights))[1].append(phase.name)
    for phase in drawn:
        for key in phase.weights:
            tokens = plan.tokens[key]
            used.setdefault((key, tokens.digest), (tokens, [], ""))[1].append(phase.name)
    return [
        Dataset(name=name, identity=identity, phases=tuple(dict.fromkeys(names)), profile=profile)
        for (name, _), (identity, names, profile) in used.items()
    ]


def as_inputs(datasets: Iterable[Dataset]) -> list[Any]:
    """Return datasets in MLflow's own types."""
    from mlflow.entities import Dataset as MLflowDataset
    from mlflow.entities import DatasetInput, InputTag

    return [
        DatasetInput(
            MLflowDataset(
                name=one.name, digest=one.identity.digest, source_type="switchpoint",
                source=json.dumps({"path": one.identity.path}), profile=one.profile or None,
            ),
            [InputTag(CONTEXT, ", ".join(one.phases))],
        )
        for one in datasets
    ]  # fmt: skip
