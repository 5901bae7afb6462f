"""The launcher of training: builds the job of a step, runs it through TorchX, records what came out."""

from functools import partial
from pathlib import Path
from typing import Any

from switchpoint.components.data.origins import folder_digest
from switchpoint.components.launch.job import Superseded
from switchpoint.components.launch.site import scheduler
from switchpoint.components.plan.price import model_shape
from switchpoint.components.recipe.cost import train_flops
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.stage import Train, Trained
from switchpoint.components.store.location import Location
from switchpoint.components.store.store import MODEL_FOLDER, Store
from switchpoint.components.tracking.delivery import Delivery
from switchpoint.components.tracking.link import training_link
from switchpoint.components.train.checkpoint import checkpoint_place, has_model, is_kept, model_path, read_state
from switchpoint.components.train.job import JobPhase, JobSource, TrainJob
from switchpoint.components.train.metrics import newest_row_of, rows_of
from switchpoint.components.train.probe_file import PROBES
from switchpoint.components.train.progress import ProgressLog
from switchpoint.components.train.shown import training_markdown
from switchpoint.components.train.supervise import TrainingFailed, patiently, train_to_end


def train_base(plan: Plan, store: Store) -> None:
    """Pretrain the base, or record where the user's lies, unless the store has it."""
    output = plan.base_output
    if isinstance(output.stage, Train):
        train_run(plan, store, output)
        return
    if store.is_done(plan.base):
        return
    _check_model_folder(plan)
    folder = store.local_folder(plan.base)
    folder.mkdir(parents=True, exist_ok=True)
    store.write_record(plan.base, folder, {"model_folder": str(plan.recipe.model.folder)})


def train_run(plan: Plan, store: Store, run: Trained) -> None:
    """Train the output as far as the study requests it, from where it, or its parent, stands."""
    if run_is_done(plan, store, run):
        return
    stage = run.stage
    folder, place = store.local_folder(run.identity), store.output_location(run.identity)
    folder.mkdir(parents=True, exist_ok=True)
    before = _outputs_before(store, run)
    # What longer studies keep behind this one's end is theirs to train: the schedule may be another there.
    known = [step for step in before["keep_steps"] if step <= stage.end_step]
    pruned = set(before.get("pruned_steps", [])) - needed_steps(plan, store, run)
    job = TrainJob(
        keep_steps=sorted({*run.keep_steps, *known} - pruned), export_steps=list(run.export_steps),
        probes=f"{plan.probes.path}/{PROBES}" if plan.probes and run.evaluation_steps else "",
        evaluation_steps=list(run.evaluation_steps),
        **_start(plan, store, run), **_common(plan, store, place, stage),
    )  # fmt: skip
    pretrain = plan.recipe.model.pretrain
    trains = pretrain if pretrain and stage.start == "scratch" else plan.recipe.training
    num_processes = trains.num_processes
    try:
        _run(plan, store, run.identity, job, num_processes)
    except Superseded:  # another study has kept other steps of it in the meantime
        return train_run(plan, store, run)
    before = _outputs_before(store, run)
    weights = {str(step): (read_state(place, step) or {})["weights_sha256"] for step in job.keep_steps}
    outputs = {
        "keep_steps": sorted({*job.keep_steps, *before["keep_steps"]} - pruned), "pruned_steps": sorted(pruned),
        "weights_sha256": before["weights_sha256"] | weights,
    }  # fmt: skip
    store.write_record(run.identity, folder, outputs, _environment(job, num_processes))


def _start(plan: Plan, store: Store, run: Trained) -> dict[str, Any]:
    """Return what the job starts from: nothing but an architecture, its parent's checkpoint, or the base."""
    if run.stage.start == "scratch":
        shape = plan.recipe.model.architecture
        assert shape is not None  # a base without one is imported
        tokenizer = (store.record(plan.tokenizer) or {})["outputs"]
        return {"architecture": shape.model_dump() | {"head_width": shape.head_width} | tokenizer}
    _check_model_folder(plan)
    base_model = model_in_store(plan, store, plan.base_model)
    if run.parent is not None:
        return {
            "model_config_folder": base_model,
            "start_checkpoint": checkpoint_place(store.output_location(run.parent), run.stage.start_step),
        }
    if run.stage.start == "fresh":
        return {"model_config_folder": base_model, "start_model": base_model}
    assert plan.pretraining is not None  # a recipe that starts otherwise from a folder is refused
    checkpoint = checkpoint_place(store.output_location(plan.base), plan.pretraining.end_step)
    return {"model_config_folder": base_model, "start_checkpoint": checkpoint}


def _outputs_before(store: Store, run: Trained) -> dict[str, Any]:
    """What the record tells now: of a run that several studies share, another one may have written it."""
    record = store.record(run.identity) or {"outputs": {"keep_steps": [], "weights_sha256": {}}}
    return dict(record["outputs"])


def run_markdown(plan: Plan, store: Store, run: Trained) -> str:
    """Return what the task that trained the run shows in the pipeline's UI."""
    rows = list(rows_of(store, run.identity, run.stage.end_step))
    link = training_link(store, plan.recipe.name, run.identity, run.stage.phase.name)
    failure = (store.failure(run.identity) or {}).get("reason", "")
    return training_markdown(plan, run, rows, link, failure)


def run_is_done(plan: Plan, store: Store, run: Trained) -> bool:
    """Whether every checkpoint and model that the arms need from the run is there.

    A checkpoint that was pruned is only missed where a run that is not done continues from it.
    """
    return not missing_steps(plan, store, run)


def missing_steps(plan: Plan, store: Store, run: Trained) -> set[int]:
    """The steps whose checkpoint or model the arms still need from the run; pruned ones as in `run_is_done`."""
    place, record = store.output_location(run.identity), store.record(run.identity)
    if record is None:
        return {*run.keep_steps, *run.export_steps}
    exports = {step for step in run.export_steps if not has_model(place, step)}
    keeps = {step for step in run.keep_steps if not is_kept(place, step)}
    forgiven = keeps & set(record["outputs"].get("pruned_steps", []))
    return exports | (keeps - forgiven) | (forgiven and forgiven & needed_steps(plan, store, run))


def needed_steps(plan: Plan, store: Store, run: Trained) -> set[int]:
    """Return the steps from which runs of the plan that are not done continue this one."""
    return {
        other.stage.start_step
        for other in plan.runs
        if other.parent is not None
        and other.parent.digest == run.identity.digest
        and not run_is_done(plan, store, other)
    }


def check_parent(plan: Plan, store: Store, run: Trained) -> None:
    """Raise TrainingFailed, with the reason, if the checkpoint that the run continues from is not there."""
    if run.parent is not None and not is_kept(store.output_location(run.parent), run.stage.start_step):
        raise TrainingFailed(
            f"the checkpoint of {run.parent.path} that it continues is missing: {_cause(plan, store, run.parent)}"
        )


def check_arm(plan: Plan, store: Store, arm: ArmPlan) -> None:
    """Raises TrainingFailed, with the reason, where the arm's model is not there."""
    if not model_is_there(store, arm.model):
        raise TrainingFailed(f"{arm.run_name} has no model: {_cause(plan, store, arm.runs[-1])}")


def _cause(plan: Plan, store: Store, run: Identity) -> str:
    """Why a run is missing: its own failure, or that of the nearest one before it."""
    chain = [one.identity for one in reversed(plan.chain(plan.run(run.digest)))]
    failures = (store.failure(identity) for identity in (*chain, plan.base))
    return next((str(failure["reason"]) for failure in failures if failure), "it was not trained")


def missing_gb_runs(plan: Plan, store: Store) -> list[Trained]:
    """Return the GB runs of arms that were not stopped, where something is left to train."""
    needed = {identity.digest for arm in plan.arms if not arm.stopped for identity in arm.runs}
    return [run for run in plan.gb_runs if run.identity.digest in needed and not run_is_done(plan, store, run)]


def missing_arms(plan: Plan, store: Store) -> list[ArmPlan]:
    """Return the arms with phases after GB where something is left to train; those that were stopped stay so."""
    return [arm for arm in plan.arms if not arm.stopped and plan.own_runs(arm) and not arm_is_done(plan, store, arm)]


def arm_is_done(plan: Plan, store: Store, arm: ArmPlan) -> bool:
    """Return whether the arm's model is there, and everything that is requested of its own runs."""
    return model_is_there(store, arm.model) and all(run_is_done(plan, store, run) for run in plan.own_runs(arm))


def model_is_there(store: Store, model: Identity) -> bool:
    """Return whether a model is there: one that a run exports at some step, or an output of its own."""
    if model.kind == "model":
        return has_model(store.output_location(model.inputs["run"]), model.config["step"])
    return store.is_done(model)


def model_in_store(plan: Plan, store: Store, model: Identity) -> str:
    """Return a model's Hugging Face folder: by its path in the store, or the user's absolute one."""
    if model.kind == "model":
        return model_path(Path(model.inputs["run"].path), model.config["step"]).as_posix()
    if model.digest == plan.base.digest:
        return str(Path(str(plan.recipe.model.folder)).absolute())
    return f"{model.path}/{MODEL_FOLDER}"


def fetch_model(plan: Plan, store: Store, model: Identity) -> Path:
    """The same folder, on this machine."""
    return store.fetch_folder(model_in_store(plan, store, model))


def _check_model_folder(plan: Plan) -> None:
    """Raises BadInput where the user's base is not the one that was planned."""
    folder = plan.recipe.model.folder
    if folder and folder_digest(Path(folder)) != plan.base.config["content"]:
        raise BadInput("the folder has changed since it was planned: run again", file=folder, field="model.folder")


def _common(plan: Plan, store: Store, place: Location, stage: Train) -> dict[str, Any]:
    """Return what every job carries of its stage."""
    sources: dict[str, JobSource] = {}
    tokenizer = (store.record(plan.tokenizer) or {})["outputs"]
    for phase in stage.phases:
        record = store.record(phase.blend_identity)
        assert record is not None, phase.blend
        for key, facts in record["outputs"]["sources"].items():
            sources[key] = JobSource(stream=facts["stream"])
    return {
        "folder": str(place), "tokenizer": plan.tokenizer.path, "store": store.location,
        "sources": sources,
        "phases": [
            JobPhase(
                weights=phase.weights, first_sample=phase.first_sample, order=phase.order,
                num_samples=phase.num_samples, settings=phase.settings,
            )
            for phase in stage.phases
        ],
        "start": stage.start, "seed": stage.seed, "start_step": stage.start_step, "end_step": stage.end_step,
        "pieces": list(stage.schedule.pieces), "stretches": list(stage.clock.stretches),
        "training": plan.recipe.training, "flops_per_token": _flops_per_token(plan, stage.phase.sequence_length),
        **{name: tokenizer[name] for name in ("vocab_size", "end_of_document")},
    }  # fmt: skip


def _flops_per_token(plan: Plan, sequence_length: int) -> float | None:
    shape = model_shape(plan.recipe)
    return train_flops(shape.model, shape.vocab_size, 1, sequence_length) if shape else None


def _environment(job: TrainJob, num_processes: int) -> dict[str, Any]:
    """What changes rounding only, and so is told beside the output, not in its address."""
    training = job.training.model_dump(include={"replicas", "tensor_parallel", "micro_batch_size"})
    return {"num_processes": num_processes, "num_threads": 1, **training}


def _run(plan: Plan, store: Store, identity: Identity, job: TrainJob, num_processes: int) -> None:
    name = f"{identity.kind}-{identity.digest}"
    rows = partial(rows_of, store, identity)
    label = plan.label(identity)
    is_gb_run = any(identity in arm.runs[: arm.num_gb_runs] for arm in plan.arms)
    delivery = Delivery(store, plan.recipe.name, identity, rows, label=label, is_gb_run=is_gb_run)
    on_cluster = scheduler() == "kubernetes"  # pods point to their run in MLflow; here that costs seconds for nothing
    notes = _notes(plan, store, identity) | (delivery.announce() if on_cluster else {})
    try:
        with delivery, ProgressLog(f"{label} {identity.digest}", job.end_step, partial(newest_row_of, store, identity)):
            train_to_end(
                name, job, store.log_folder(identity), num_processes, cluster=plan.recipe.cluster,
                labels={"study": plan.recipe.name, "kind": identity.kind, "output": identity.digest}, notes=notes,
            )  # fmt: skip
    except TrainingFailed as failure:
        told, log = str(failure), str(failure.log)
        patiently(store.location, lambda: store.write_failure(identity, told, log))
        raise TrainingFailed(f"{failure}; log: {failure.log}", failure.log) from None
    finally:
        store.save(store.log_folder(identity))


def _notes(plan: Plan, store: Store, identity: Identity) -> dict[str, str]:
    """What a pod belongs to."""
    arms = [arm.run_name for arm in plan.arms if identity in arm.runs] or ["all"]
    return {"arms": ", ".join(arms), "store": store.location, "path": identity.path}
