"""The training loop: one process of a job, from the checkpoint that it resumes from to its last step.

A step is in `training_step`, which checkpoints are missing in `missing_steps`, their loading and writing in
`job_checkpoints`.
"""

import signal
from collections.abc import Callable

from switchpoint.components.store.store import write_json
from switchpoint.components.train.data import Batch, Batches
from switchpoint.components.train.ending import write_status
from switchpoint.components.train.evaluations import Evaluations
from switchpoint.components.train.guard import BadBatch, BadModel, Guard, describe_bad_batch
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.job_checkpoints import JobCheckpoints, Resumed
from switchpoint.components.train.job_files import fetch_inputs, work_folder
from switchpoint.components.train.model import build_model, gives_numbers
from switchpoint.components.train.optimizer import build_optimizer
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.step_metrics import StepMetrics
from switchpoint.components.train.training_step import StepResult, TrainingStep
from switchpoint.components.train.upload import Upload

RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"


class Trainer:
    """A job on one process: its parts, and the step that it has reached."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        """Build the model and load the newest checkpoint from which the job can resume."""
        self.job = job = fetch_inputs(job, rank)
        self.ranks = ranks = Ranks(rank, world_size, job.training)
        self.folder = work_folder(job, rank)
        self.upload = Upload(job, rank)
        self.batches = Batches(job, ranks.data_rank, ranks.data_size)
        self.model = build_model(job, ranks)
        self.optimizer = build_optimizer(self.model, job.settings.optimizer)
        self.guard = Guard(job.training)
        self.training_step = TrainingStep(job, ranks, self.model, self.optimizer, self.guard, self.batches.names)
        self.evaluations = Evaluations(job, ranks, self.folder)
        self.checkpoints = JobCheckpoints(job, ranks, self.folder, self.model, self.optimizer, self.upload.now)
        self.end_step = self.checkpoints.missing.end_step
        self._resume(self.checkpoints.resume())
        self._stop_requested = False

    def run(self, alive: Callable[[], None] = lambda: None) -> str:
        """Train to the last step (`finished`), or to the end of the step in which SIGTERM arrives (`stopped`).

        `alive` is called after every step, and with every part of a file that is uploaded at the end. Raise BadBatch if
        a step must not be taken, and CheckpointFailed if a requested checkpoint cannot be written.
        """
        self._alive = self.upload.alive = alive
        signal.signal(signal.SIGTERM, lambda *_: self.request_stop())
        with self.upload:
            covered_step = max(self.checkpoints.newest(), self.step)
            self.metrics = StepMetrics(self.job, self.ranks, self.folder, covered_step, self.end_step)
            self._write_status(RUNNING)
            self._finish_undone_work()
            self._evaluate()
            batch, stop = self._batch(self.step), False
            while batch is not None and not stop:
                result, batch = self._train_step(batch)
                alive()
                self.metrics.record(self.step, result, self.skipped_steps)
                self._evaluate()
                stop, save = result.flags
                if stop or save or self.checkpoints.must_save(self.step):
                    self._save()
                while not stop and (resumed := self.checkpoints.skip_ahead(self.step)):
                    self._resume(resumed)
                    self._finish_undone_work()
                    batch = self._batch(self.step)
            self.checkpoints.finish()
            self.metrics.close()
            end = FINISHED if self.step >= self.end_step else STOPPED
            self._write_status(end, "SIGTERM" if end == STOPPED else "")
        return end

    def request_stop(self) -> None:
        """Stop all processes of the job after the step in progress."""
        self._stop_requested = True

    def _train_step(self, batch: Batch) -> tuple[StepResult, Batch | None]:
        """Train on `batch`, the samples of the current step. Return the result, and the batch of the next step."""
        sums = self.training_step.forward_backward(batch, self.step)
        following = self._batch(self.step + 1)
        is_save_due = self.ranks.rank == 0 and self.checkpoints.is_due()
        result = self.training_step.update(self.step, sums, flags=(self._stop_requested, is_save_due))
        if result.problem:
            self._skip_batch(result.problem)
        self.step += 1
        return result, following

    def _batch(self, step: int) -> Batch | None:
        return self.batches.batch(step) if step < self.end_step else None

    def _skip_batch(self, problem: str) -> None:
        """Count the current step as skipped and name its samples.

        Raise BadModel if the model is to blame, and BadBatch unless the recipe allows a skip; also where all steps were
        skipped before a checkpoint that others start from: it would be a model that nothing was trained for.
        """
        step, samples = self.step + 1, self.batches.samples_of(self.step)
        if not gives_numbers(self.model, self.ranks, self.job.vocab_size):
            raise BadModel(f"step {step}: {problem}, and so it is whatever the text: {self._model_named()}")
        message = describe_bad_batch(step, problem, samples)
        if self.ranks.rank == 0:
            file = self.folder / f"bad-batch-{step:08d}.json"
            write_json(file, {"step": step, "problem": problem, "samples": samples})
            message += f" (all in {file})"
        if self.job.training.bad_batch == "stop":
            raise BadBatch(message)
        self.skipped_steps += 1
        if self.skipped_steps == step - self.job.start_step and self.checkpoints.must_save(step):
            all_bad = f"all {self.skipped_steps} steps up to the checkpoint of step {step} were bad"
            raise BadBatch(f"{all_bad}; the last: {message}")
        if self.ranks.rank == 0:
            print(f"{message}: skipped, {self.skipped_steps} so far", flush=True)

    def _model_named(self) -> str:
        """Return which model is trained, in words."""
        if self.step > self.job.start_step + self.skipped_steps:
            return f"the weights after step {self.step} give values that are not finite"
        start = self.job.start_model or self.job.start_checkpoint or "the model at its random start"
        return f"{start} gives values that are not finite before anything is trained"

    def _evaluate(self) -> None:
        if self.evaluations.is_due(self.step):
            self.metrics.pause(self.evaluations.evaluate(self.step, self.model))
            self._alive()

    def _save(self) -> None:
        self.metrics.flush_to_disk()
        facts = {
            "guard": self.guard.state(), "skipped_steps": self.skipped_steps, "world_size": self.ranks.world_size,
        }  # fmt: skip
        self.checkpoints.save(self.step, facts)

    def _resume(self, resumed: Resumed) -> None:
        self.step, state = resumed
        self.guard.load(state.get("guard", {}))
        self.skipped_steps: int = state.get("skipped_steps", 0)

    def _finish_undone_work(self) -> None:
        """Finish the work that a previous trainer left undone at this step.

        Its checkpoint may lack the digest of the weights, because it was not requested when it was written; its model
        may be missing, because a trainer stopped between checkpoint and export.
        """
        if self.checkpoints.must_save(self.step):
            self._save()
        else:
            self.checkpoints.export_if_missing(self.step)

    def _write_status(self, state: str, reason: str = "") -> None:
        if self.ranks.rank == 0:
            write_status(self.folder, state, reason, self.step, resume=state == STOPPED)
