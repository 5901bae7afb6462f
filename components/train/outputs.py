"""Training outputs in the store: which checkpoints and models are there, and where."""

from pathlib import Path

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.stage import Import, Trained
from switchpoint.components.store.store import MODEL_FOLDER, Store
from switchpoint.components.train.checkpoint import has_model, is_kept, model_path


def run_is_done(plan: Plan, store: Store, run: Trained) -> bool:
    """Whether every checkpoint and model that the arms need from the run is there, and its gate is decided.

    A checkpoint that was pruned is only missed where a run that is not done continues from it.
    """
    return not missing_steps(plan, store, run)


def missing_steps(plan: Plan, store: Store, run: Trained) -> set[int]:
    """The steps whose checkpoint or model the arms still need from the run, or which its gate is still to check; pruned
    ones as in `run_is_done`.
    """
    place, record = store.output_location(run.identity), store.record(run.identity)
    if record is None:
        return {*run.keep_steps, *run.export_steps}
    exports = {step for step in run.export_steps if not has_model(place, step)}
    keeps = {step for step in run.keep_steps if not is_kept(place, step)}
    forgiven = keeps & set(record["outputs"].get("pruned_steps", []))
    unchecked = {check.step for check in run.checks if not check.is_decided}
    return unchecked | exports | (keeps - forgiven) | (forgiven and forgiven & needed_steps(plan, store, run))


def needed_steps(plan: Plan, store: Store, run: Trained) -> set[int]:
    """Return the steps from which runs of the plan that are not done continue this one."""
    return {
        other.parent_step
        for other in plan.runs
        if other.parent is not None
        and other.parent.digest == run.identity.digest
        and not run_is_done(plan, store, other)
    }


def missing_gb_runs(plan: Plan, store: Store) -> list[Trained]:
    """Return the GB runs of arms that were not stopped, where something is left to train."""
    needed = {identity.digest for arm in plan.arms if not arm.stopped for identity in arm.runs}
    return [run for run in plan.gb_runs if run.identity.digest in needed and not run_is_done(plan, store, run)]


def missing_arms(plan: Plan, store: Store) -> list[ArmPlan]:
    """Return the arms with phases after GB where something is left to train; those that were stopped stay so."""
    return [arm for arm in plan.arms if not arm.stopped and plan.own_runs(arm) and not arm_is_done(plan, store, arm)]


def arm_is_done(plan: Plan, store: Store, arm: ArmPlan) -> bool:
    """Whether the arm's model is there, and all that the study requests of its own runs."""
    return model_is_there(store, arm.model) and all(run_is_done(plan, store, run) for run in plan.own_runs(arm))


def model_is_there(store: Store, model: Identity) -> bool:
    """Return whether a model is there: one that a run exports at some step, or an output of its own."""
    if model.kind == "model":
        return has_model(store.output_location(model.inputs["run"]), model.config["step"])
    return store.is_done(model)


def why_missing(store: Store, model: Identity) -> str:
    """Return why a model is not there, as far as what makes it has told."""
    return str((store.failure(model.inputs.get("run", model)) or {}).get("reason", "it was not made"))


def model_in_store(plan: Plan, store: Store, model: Identity) -> str:
    """Return a model's Hugging Face folder: by its path in the store, or the user's absolute one."""
    if model.kind == "model":
        return model_path(Path(model.inputs["run"].path), model.config["step"]).as_posix()
    output = plan.base_outputs.get(model.digest)
    if output is not None and isinstance(output.stage, Import):
        return str(Path(str(plan.base_of(output).origin.folder)).absolute())
    return f"{model.path}/{MODEL_FOLDER}"


def fetch_model(plan: Plan, store: Store, model: Identity) -> Path:
    """The same folder, on this machine."""
    return store.fetch_folder(model_in_store(plan, store, model))
