"""A merge as an output of the store."""

from switchpoint.components.merge.average import average_models
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Merge, Output
from switchpoint.components.store.store import Store
from switchpoint.components.train.model_files import store_model
from switchpoint.components.train.outputs import fetch_model


def merge_models(plan: Plan, store: Store, output: Output[Merge]) -> None:
    """Average the models of the output's stage. Raise NotMergeable if their shapes differ."""
    folders = [fetch_model(plan, store, model) for model in output.stage.models]
    store_model(store, output.identity, lambda target: average_models(folders, output.stage.weights, target))
