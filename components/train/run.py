"""The launcher of training: builds the job of a step, runs it through TorchX, records what came out."""

from pathlib import Path
from typing import Any

from components.blend.origins import folder_digest
from components.launch.local import run_job, tail
from components.recipe.digest import Identity
from components.recipe.epochs import samples_per_epoch
from components.recipe.errors import BadInput
from components.recipe.plan import ArmPlan, GBRun, Plan, base_steps
from components.recipe.recipe import Recipe
from components.store.store import Store, read_json, write_json
from components.train.checkpoint import is_kept, model_path
from components.train.job import JobPhase, JobSource, StartMode, TrainJob
from components.train.metrics import read_metrics

BASE_SEED = 0
"""A recipe's seed never changes its base."""


class TrainingFailed(RuntimeError):
    """A training job ended without its output."""


def train_base(plan: Plan, store: Store) -> None:
    """Pretrains the base, or records where the user's lies, unless the store has it."""
    recipe, pretrain = plan.recipe, plan.recipe.model.pretrain
    if store.is_done(plan.base):
        return
    folder = store.path(plan.base)
    folder.mkdir(parents=True, exist_ok=True)
    if pretrain is None:
        _check_model_folder(plan)
        store.write_record(plan.base, folder, {"model_folder": str(recipe.model.folder)})
        return
    assert plan.base_schedule is not None
    end_step = base_steps(pretrain, recipe)
    tokenizer = (store.record(plan.tokenizer) or {})["outputs"]
    job = TrainJob(
        start="scratch",
        architecture=pretrain.model_dump() | tokenizer | {"sequence_length": recipe.sequence_length},
        phases=[JobPhase(weights=recipe.blends[pretrain.blend], start_step=0)], seed=BASE_SEED,
        max_learning_rate=pretrain.max_learning_rate, min_learning_rate=pretrain.min_learning_rate,
        horizon_tokens=plan.base_schedule.horizon_tokens, warmup_tokens=pretrain.warmup_tokens,
        start_step=0, end_step=end_step, keep_steps=[end_step], export_steps=[end_step],
        **_common(plan, store, folder, [pretrain.blend]),
    )  # fmt: skip
    _run(store, plan.base, job, num_processes=pretrain.num_processes)
    checkpoint, model = f"checkpoints/step-{end_step:08d}", f"models/step-{end_step:08d}"
    outputs = {"checkpoint": checkpoint, "model": model, **_facts(folder / checkpoint)}
    store.write_record(plan.base, folder, outputs, {"num_processes": pretrain.num_processes, "num_threads": 1})


def train_gb(plan: Plan, store: Store, digest: str) -> None:
    """Trains the GB run as far as its arms need it, going on from where it stands."""
    run = plan.gb_run(digest)
    if gb_is_done(run, store):
        return
    folder = store.path(run.identity)
    folder.mkdir(parents=True, exist_ok=True)
    _check_model_folder(plan)
    start: StartMode = "new_schedule" if plan.recipe.model.pretrain else "fresh"
    base_model = model_folder(plan, store, plan.base)
    kept = set((store.record(run.identity) or {"outputs": {"keep_steps": []}})["outputs"]["keep_steps"])
    job = TrainJob(
        start=start, start_from=str(_base_checkpoint(plan, store) if start == "new_schedule" else base_model),
        model_config_folder=str(base_model),
        phases=[JobPhase(weights=plan.recipe.blends[run.blend], start_step=0)], seed=run.seed,
        max_learning_rate=run.schedule.max_learning_rate, min_learning_rate=run.schedule.min_learning_rate,
        horizon_tokens=run.schedule.horizon_tokens, start_step=0, end_step=run.end_step,
        keep_steps=sorted({*run.keep_steps, *kept}), export_steps=list(run.export_steps),
        **_common(plan, store, folder, [run.blend]),
    )  # fmt: skip
    _run(store, run.identity, job)
    outputs = {
        "keep_steps": job.keep_steps,
        "weights_sha256": {
            str(step): _facts(folder / f"checkpoints/step-{step:08d}")["weights_sha256"] for step in job.keep_steps
        },
    }
    store.write_record(run.identity, folder, outputs, {"num_processes": 1, "num_threads": 1})


def gb_is_done(run: GBRun, store: Store) -> bool:
    """Whether every checkpoint and model that the arms need from the GB run is there."""
    folder = store.path(run.identity)
    return (
        store.is_done(run.identity)
        and all(is_kept(folder, step) for step in run.keep_steps)
        and all(model_path(folder, step).is_dir() for step in run.export_steps)
    )


def check_gb_run(plan: Plan, store: Store, arm: ArmPlan) -> None:
    """Raises TrainingFailed, with the reason, where what the arm needs from its GB run is not there."""
    folder, step = store.path(arm.gb_run), arm.switch_step
    there = is_kept(folder, step) if arm.qb_run is not None else model_path(folder, step).is_dir()
    if not there:
        cause = store.failure(arm.gb_run) or store.failure(plan.base) or {"reason": "it was not trained"}
        raise TrainingFailed(f"{arm.arm_id}: its GB run is missing: {cause['reason']}")


def train_qb(plan: Plan, store: Store, arm: ArmPlan) -> None:
    """Trains the QB phase of an arm that switches, from the GB run's checkpoint at the switch."""
    assert arm.qb_run is not None, arm.arm_id
    if store.is_done(arm.qb_run):
        return
    folder = store.path(arm.qb_run)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = plan.recipe
    job = TrainJob(
        start="new_data",
        start_from=str(store.path(arm.gb_run) / f"checkpoints/step-{arm.switch_step:08d}"),
        model_config_folder=str(model_folder(plan, store, plan.base)),
        phases=[
            JobPhase(weights=recipe.blends[phase.blend], start_step=phase.start_step) for phase in arm.phases
        ],
        seed=arm.seed,
        max_learning_rate=arm.schedule.max_learning_rate, min_learning_rate=arm.schedule.min_learning_rate,
        horizon_tokens=arm.schedule.horizon_tokens, start_step=arm.switch_step, end_step=arm.horizon_steps,
        keep_steps=[arm.horizon_steps], export_steps=[arm.horizon_steps],
        **_common(plan, store, folder, [phase.blend for phase in arm.phases]),
    )  # fmt: skip
    _run(store, arm.qb_run, job)
    checkpoint = f"checkpoints/step-{arm.horizon_steps:08d}"
    outputs = {"checkpoint": checkpoint, "model": f"models/step-{arm.horizon_steps:08d}"}
    outputs |= _facts(folder / checkpoint)
    store.write_record(arm.qb_run, folder, outputs, {"num_processes": 1, "num_threads": 1})


def arm_is_done(store: Store, arm: ArmPlan) -> bool:
    """Whether the arm's model is there."""
    return model_is_there(store, arm.model)


def model_is_there(store: Store, model: Identity) -> bool:
    """Of a base, a QB run, or an arm that ends inside a GB run."""
    if model.step == "model":
        return model_path(store.path(model.inputs["gb"]), model.config["step"]).is_dir()
    return store.is_done(model)


def model_folder(plan: Plan, store: Store, model: Identity) -> Path:
    """The Hugging Face folder of a base, a GB run's end or a QB run."""
    if model.step == "model":
        return model_path(store.path(model.inputs["gb"]), model.config["step"])
    if model == plan.base and plan.recipe.model.folder:
        return Path(plan.recipe.model.folder)
    return store.path(model) / (store.record(model) or {})["outputs"]["model"]


def _base_checkpoint(plan: Plan, store: Store) -> Path:
    return store.path(plan.base) / (store.record(plan.base) or {})["outputs"]["checkpoint"]


def _check_model_folder(plan: Plan) -> None:
    """Raises BadInput where the user's base is not the one that was planned."""
    folder = plan.recipe.model.folder
    if folder and folder_digest(Path(folder)) != plan.base.config["content"]:
        raise BadInput("the folder has changed since it was planned: run again", file=folder, field="model.folder")


def _common(plan: Plan, store: Store, folder: Path, blends: list[str]) -> dict[str, Any]:
    recipe: Recipe = plan.recipe
    sources: dict[str, JobSource] = {}
    for name in blends:
        record = store.record(plan.blends[name])
        assert record is not None, name
        for source, facts in record["outputs"]["sources"].items():
            prefix = store.root / facts["path"] / "train"
            sources[source] = JobSource(
                prefix=str(prefix), samples_per_epoch=samples_per_epoch(facts["tokens"], recipe.sequence_length)
            )  # fmt: skip
    return {
        "folder": str(folder), "tokenizer": str(store.path(plan.tokenizer)), "sources": sources,
        "sequence_length": recipe.sequence_length, "batch_size": recipe.batch_size,
    }  # fmt: skip


def _facts(checkpoint: Path) -> dict[str, str]:
    return {"weights_sha256": read_json(checkpoint / "state.json")["weights_sha256"]}


def _run(store: Store, identity: Identity, job: TrainJob, num_processes: int = 1) -> None:
    file = Path(job.folder) / "job.json"
    write_json(file, job.model_dump(mode="json"))
    name = f"{identity.step}-{identity.digest}"
    end = run_job(name, "components.train.app", [str(file)], store.log_folder(identity), num_processes=num_processes)
    if not end.succeeded:
        step = max((row["step"] for row in read_metrics(Path(job.folder))), default=job.start_step)
        reason = tail(end.log) or end.reason
        store.write_failure(identity, f"{reason} (step {step} of {job.end_step})", str(end.log))
        raise TrainingFailed(f"{reason}; log: {end.log}")
