"""The launcher of training: builds the job of a step, runs it through TorchX, records what came out."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from switchpoint.components.data.origins import folder_digest
from switchpoint.components.launch.job import Superseded
from switchpoint.components.launch.site import scheduler
from switchpoint.components.plan.price import model_shape
from switchpoint.components.recipe.bases import Base, field_of
from switchpoint.components.recipe.cost import train_flops
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.stage import Import, Output, Phase, Train, Trained
from switchpoint.components.stages.progress import ProgressLog
from switchpoint.components.stages.shown import training_markdown
from switchpoint.components.stages.supervise import TrainingFailed, patiently, train_to_end
from switchpoint.components.store.gate_scores import ENDED_STEP, GATE
from switchpoint.components.store.location import Location
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.delivery import Delivery
from switchpoint.components.tracking.link import training_link
from switchpoint.components.train.checkpoint import checkpoint_place, is_kept, read_state
from switchpoint.components.train.job import JobPhase, JobSource, TrainJob
from switchpoint.components.train.metrics import newest_row_of, rows_of
from switchpoint.components.train.outputs import model_in_store, model_is_there, needed_steps, run_is_done
from switchpoint.components.train.probe_file import PROBES


def train_run(plan: Plan, store: Store, run: Trained) -> None:
    """Train the output as far as the study requests it, from where it, or its parent, stands."""
    if run_is_done(plan, store, run):
        return
    stage, base = run.stage, plan.base_of(run)
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
        **_start(plan, store, run), **_common(plan, store, place, stage, base),
    )  # fmt: skip
    pretrain = base.origin.pretrain if stage.start == "scratch" else None
    num_processes = (pretrain or plan.recipe.training).num_processes
    try:
        with _followed(plan, store, run.identity, job.end_step) as notes:
            train_to_end(
                f"{run.identity.kind}-{run.identity.digest}", job, store.log_folder(run.identity), num_processes,
                cluster=plan.recipe.cluster, notes=notes,
                labels={"study": plan.recipe.name, "kind": run.identity.kind, "output": run.identity.digest},
            )  # fmt: skip
    except Superseded:  # another study has kept other steps of it in the meantime
        return train_run(plan, store, run)
    before = _outputs_before(store, run)
    weights = {str(step): (read_state(place, step) or {})["weights_sha256"] for step in job.keep_steps}
    outputs = {
        "keep_steps": sorted({*job.keep_steps, *before["keep_steps"]} - pruned), "pruned_steps": sorted(pruned),
        "weights_sha256": before["weights_sha256"] | weights,
        **{name: before[name] for name in (GATE, ENDED_STEP) if name in before},
    }  # fmt: skip
    store.write_record(run.identity, folder, outputs, _environment(job, num_processes))


def _start(plan: Plan, store: Store, run: Trained) -> dict[str, Any]:
    """Return what the job starts from: nothing but an architecture, its parent's checkpoint, or the base."""
    base = plan.base_of(run)
    if run.stage.start == "scratch":
        shape = base.origin.architecture
        assert shape is not None  # a base without one is imported
        tokenizer = (store.record(plan.tokenizer) or {})["outputs"]
        return {"architecture": shape.model_dump() | {"head_width": shape.head_width} | tokenizer}
    check_model_folder(base)
    base_model = model_in_store(plan, store, base.model)
    if run.parent is not None:
        return {
            "model_config_folder": base_model,
            "start_checkpoint": checkpoint_place(store.output_location(run.parent), run.parent_step),
        }
    if run.stage.start == "fresh":
        return {"model_config_folder": base_model, "start_model": base_model}
    assert base.step is not None  # a recipe that starts otherwise from weights alone is refused
    checkpoint = checkpoint_place(store.output_location(base.output.identity), base.step)
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


def check_parent(plan: Plan, store: Store, run: Trained) -> None:
    """Raises TrainingFailed, with the reason, where the checkpoint or the base that the run starts from is missing."""
    base = plan.base_of(run)
    if run.parent is None and not model_is_there(store, base.model):
        raise TrainingFailed(
            f"the base {base.name} that it starts from is missing: {_cause(plan, store, run.identity)}"
        )
    if run.parent is not None and not is_kept(store.output_location(run.parent), run.parent_step):
        raise TrainingFailed(
            f"the checkpoint of {run.parent.path} that it continues is missing: {_cause(plan, store, run.parent)}"
        )


def check_arm(plan: Plan, store: Store, arm: ArmPlan) -> None:
    """Raises TrainingFailed, with the reason, where the arm's model is not there."""
    if not model_is_there(store, arm.model):
        raise TrainingFailed(f"{arm.run_name} has no model: {_cause(plan, store, arm.runs[-1])}")


def _cause(plan: Plan, store: Store, run: Identity) -> str:
    """Why a run is missing: its own failure, or that of the nearest one before it."""
    chain: list[Output[Any]] = [*reversed(plan.chain(plan.run(run.digest)))]
    chain += [base.output for base in reversed(plan.lineage(plan.base_of(chain[0])))]
    failures = (store.failure(output.identity) for output in chain)
    return next((str(failure["reason"]) for failure in failures if failure), "it was not trained")


def _cause_of_blend(plan: Plan, store: Store, phase: Phase) -> str:
    """Why a blend is missing: what its sources are generated from, their tokens, or the blend itself failed."""
    chain = [one for name in plan.generated_in(phase) for one in (plan.generations[name].identity, plan.tokens[name])]
    failures = (store.failure(identity) for identity in [*chain, phase.blend_identity])
    return next((str(failure["reason"]) for failure in failures if failure), "it was not built")


def check_model_folder(base: Base) -> None:
    """Raises BadInput where the user's base is not the one that was planned."""
    folder = base.origin.folder if isinstance(base.output.stage, Import) else None
    if folder and folder_digest(Path(folder)) != base.output.identity.config["content"]:
        field = f"{field_of(base.name)}.folder"
        raise BadInput("the folder has changed since it was planned: run again", file=folder, field=field)


def _common(plan: Plan, store: Store, place: Location, stage: Train, base: Base) -> dict[str, Any]:
    """Return what every job carries of its stage. `base`: the one that the stage's history starts from, or makes."""
    sources: dict[str, JobSource] = {}
    tokenizer = (store.record(plan.tokenizer) or {})["outputs"]
    for phase in stage.phases:
        record = store.record(phase.blend_identity)
        if record is None:
            raise TrainingFailed(f"the blend {phase.blend} is missing: {_cause_of_blend(plan, store, phase)}")
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
        "training": plan.recipe.training, "flops_per_token": _flops_per_token(plan, base, stage.phase.sequence_length),
        **{name: tokenizer[name] for name in ("vocab_size", "end_of_document")},
    }  # fmt: skip


def _flops_per_token(plan: Plan, base: Base, sequence_length: int) -> float | None:
    shape = model_shape(plan.recipe, base)
    return train_flops(shape.model, shape.vocab_size, 1, sequence_length) if shape else None


def _environment(job: TrainJob, num_processes: int) -> dict[str, Any]:
    """What changes rounding only, and so is told beside the output, not in its address."""
    training = job.training.model_dump(include={"replicas", "tensor_parallel", "micro_batch_size"})
    return {"num_processes": num_processes, "num_threads": 1, **training}


@contextmanager
def _followed(plan: Plan, store: Store, identity: Identity, end_step: int) -> Iterator[dict[str, str]]:
    """Show a running job here and in MLflow; keep its log, and why it failed. Yield the notes of its pods."""
    label = plan.label(identity)
    is_gb_run = any(identity in arm.runs[: arm.num_gb_runs] for arm in plan.arms)
    rows = partial(rows_of, store, identity)
    delivery = Delivery(store, plan.recipe.name, identity, rows, label=label, is_gb_run=is_gb_run)
    on_cluster = scheduler() == "kubernetes"  # pods point to their run in MLflow; here that costs seconds for nothing
    notes = _notes(plan, store, identity) | (delivery.announce() if on_cluster else {})
    try:
        with delivery, ProgressLog(f"{label} {identity.digest}", end_step, partial(newest_row_of, store, identity)):
            yield notes
    except TrainingFailed as failure:
        told, log = str(failure), str(failure.log)
        patiently(store.location, lambda: store.write_failure(identity, told, log))
        raise TrainingFailed(f"{failure}; log: {failure.log}", failure.log) from None
    finally:
        store.save(store.log_folder(identity))


def _notes(plan: Plan, store: Store, identity: Identity) -> dict[str, str]:
    """What a pod belongs to."""
    arms = [arm.run_name for arm in plan.arms if identity in arm.runs]
    if not arms and len(plan.base_outputs) > 1:
        bases = {
            base.name for base in plan.bases.values() if identity in [one.output.identity for one in plan.lineage(base)]
        }
        arms = [arm.run_name for arm in plan.arms if arm.base in bases]
    arms = arms or ["all"]
    return {"arms": ", ".join(arms), "store": store.location, "path": identity.path}
