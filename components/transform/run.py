"""A transformed model as an output of the store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Output, Transform
from switchpoint.components.recipe.transform import Copy
from switchpoint.components.store.store import Store
from switchpoint.components.train.model_files import store_model
from switchpoint.components.train.outputs import fetch_model, model_is_there, why_missing
from switchpoint.components.train.weights import safetensors_files
from switchpoint.components.transform.copy import copy_model

TRANSFORMS: Mapping[type, Callable[[Any, Path, Path], None]] = {Copy: copy_model}
"""How a model is made of another one: a function of what the recipe writes, of the one's folder and the other's."""


class NotTransformable(RuntimeError):
    """The model that is to be transformed is missing, or not stored in a way that can be read tensor by tensor."""


def transform_model(plan: Plan, store: Store, output: Output[Transform]) -> None:
    """Make the model of the output's stage. Raises NotTransformable."""
    stage = output.stage
    if not model_is_there(store, stage.model):
        made_by = stage.model.inputs.get("run", stage.model)
        reason = why_missing(store, stage.model)
        raise NotTransformable(f"the model of {made_by.path} that it is made of is missing: {reason}")
    source = fetch_model(plan, store, stage.model)
    if not safetensors_files(source):
        raise NotTransformable(f"{source} has no safetensors, which a transform reads tensor by tensor")
    make = TRANSFORMS[type(stage.config)]
    store_model(store, output.identity, lambda target: make(stage.config, source, target))
