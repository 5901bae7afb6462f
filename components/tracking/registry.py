"""MLflow's model registry: an arm's exported model as a version of a registered model, each run once."""

from typing import Any

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.client import MLflowAway, experiment, find, open_client, reason_of
from switchpoint.components.tracking.study import MODEL, row_key


def register_best(plan: Plan, store: Store, name: str, arm_name: str) -> str:
    """Register the model of the arm `arm_name` (the name of its row) as a version of `name`; return the version.

    The registered model is made where it is missing; a run that has a version keeps it. Raise BadInput if there is
    nothing to register, MLflowAway if MLflow does not answer.
    """
    try:
        return _register(open_client(store), plan, store, name, arm_name)
    except BadInput:
        raise
    except Exception as error:  # of MLflow, its storage's client, or a missing driver
        raise MLflowAway(reason_of(error)) from error


def _register(client: Any, plan: Plan, store: Store, name: str, arm_name: str) -> str:
    from mlflow.exceptions import MlflowException

    arm = plan.made(arm_name)
    run = find(client, experiment(client, plan.recipe.name, store), row_key(plan, arm_name, arm))
    if run is None or not client.list_artifacts(run.run_id, MODEL):
        raise BadInput(
            "there is no model to register: the arm's run in MLflow has none", field="--arm", given=arm_name,
            allowed="an arm of a study that `switchpoint run` has finished, and delivered to this MLflow",
        )  # fmt: skip
    if "'" in name:
        raise BadInput("a registered model's name has no quotes", field="NAME", given=name)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.run_id == run.run_id:
            return str(version.version)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {
        "switchpoint.study": plan.recipe.name, "switchpoint.arm": arm.arm_id, "switchpoint.seed": str(arm.seed),
        "switchpoint.evaluation": arm.evaluation.digest, "switchpoint.model": arm.model.digest,
    }  # fmt: skip
    source = f"{run.artifact_uri}/{MODEL}"
    made = client.create_model_version(name, source, run.run_id, tags=tags, description=plan.recipe.question or None)
    return str(made.version)
