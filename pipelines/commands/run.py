"""`switchpoint run`: the compiled pipeline, on this machine; finished work is skipped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from switchpoint.components.evaluate.hub import hub_environment
from switchpoint.components.launch.process import DRIVER_VARIABLE
from switchpoint.components.launch.slots import SLOTS_VARIABLE, slots_folder
from switchpoint.components.launch.task import RUN_LOG_VARIABLE
from switchpoint.components.plan.run import check_runnable
from switchpoint.components.store.location import Location
from switchpoint.components.store.opening import check_writable, open_store
from switchpoint.components.store.plan_file import plan_reference
from switchpoint.components.store.store import Store
from switchpoint.components.store.study_file import hand_over
from switchpoint.pipelines.commands.outcome import why_failed, write_missing_report
from switchpoint.pipelines.commands.plan_view import print_plan
from switchpoint.pipelines.commands.progress import Watch
from switchpoint.pipelines.commands.rungs import Rung, current_rung
from switchpoint.pipelines.commands.show import print_outcome
from switchpoint.pipelines.compile import SPEC

INTERRUPTED = 130


def run_study(
    study: dict[str, Any], recipe_file: str, options: str, where: Location, console: Console
) -> tuple[int, dict[str, Any]]:
    """Run the study to its end; return the exit code and the outcome for `--json`.

    Raise BadInput, with nothing written, for what cannot work.
    """
    check_writable(where)
    rung = current_rung(study, recipe_file, where, give_up_failed=False)
    check_runnable(rung.whole, recipe_file, rung.most_tokens)
    store = open_store(where)
    if store.url and not os.environ.get("MLFLOW_TRACKING_URI"):
        console.print(
            f"note: MLflow's runs are kept in SQLite on this machine, {store.root}; MLFLOW_TRACKING_URI names a server",
            style="yellow", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    planned = print_plan(rung.plan if rung.is_last else rung.whole, store, console, rung.most_tokens)
    if not planned["missing"] and rung.is_last:
        console.print("nothing is left to do")
        return 0, print_outcome(rung.plan, store, console) | {"state": "succeeded", "log": ""}
    began, began_at = time.monotonic(), time.time()
    log = store.root / "logs" / "runs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        ended_well = _run_pipeline(study, recipe_file, options, rung, store, log, console)
        while not rung.is_last and (following := current_rung(study, recipe_file, where)).stops != rung.stops:
            rung = following
            _print_stops(rung, console)
            ended_well = _run_pipeline(study, recipe_file, options, rung, store, log, console)
        if rung.plan.may_end_early:  # what the gates decided
            rung = current_rung(study, recipe_file, where)
    except KeyboardInterrupt:
        console.print("\ninterrupted: nothing is lost; the same command goes on from here", style="bold")
        return INTERRUPTED, {"state": "interrupted", "log": str(log)}
    if not ended_well and not _has_report_since(began_at, rung, store):  # what no task could record ended the pipeline
        write_missing_report(rung.plan, store, recipe_file, options, is_finished=rung.is_last)
    outcome = print_outcome(rung.plan, store, console, is_finished=rung.is_last)
    if not rung.is_last:
        ended_well = False
        console.print("halving cannot go on: no arm has the score that decides", style="bold red")
    outcome |= {"seconds": round(time.monotonic() - began, 1), "log": str(log)}
    console.print(f"took {outcome['seconds']:.0f} s; log: {log}", highlight=False)
    if ended_well and not outcome["failures"]:
        return 0, outcome | {"state": "succeeded"}
    if not outcome["failures"]:
        reference = plan_reference(study, store, rung.stops)
        for line in why_failed(rung.plan, store, reference) or [f"the pipeline failed: {_last_error(log)}"]:
            console.print(line, style="bold red", highlight=False, markup=False, soft_wrap=True)
    bad_input = any(failure["bad_input"] for failure in outcome["failures"])
    return (2 if bad_input else 1), outcome | {"state": "failed"}


def _has_report_since(began_at: float, rung: Rung, store: Store) -> bool:
    """Return whether the pipeline that began at this time came as far as its report, as it does if an arm fails."""
    page = store.root / rung.plan.report.path / "report.html"
    return page.exists() and page.stat().st_mtime >= began_at


def _print_stops(rung: Rung, console: Console) -> None:
    for arm_id, reason in {arm.arm_id: arm.stopped for arm in rung.plan.arms if arm.stopped}.items():
        console.print(f"{arm_id} is stopped: {reason}", style="yellow", highlight=False)


def _run_pipeline(
    study: dict[str, Any], recipe_file: str, options: str, rung: Rung, store: Store, log: Path, console: Console
) -> bool:
    arguments = {
        "study": study, "store": store.location, "recipe_file": recipe_file, "options": options, "stops": rung.stops,
    }  # fmt: skip
    watch = Watch(rung.plan, store, console)
    with (
        tempfile.TemporaryDirectory(prefix="switchpoint-", ignore_cleanup_errors=True) as folder,
        log.open("ab") as output,
    ):
        # KFP leaves the temporary folder of each task behind: they go with this one.
        environment = os.environ | {
            DRIVER_VARIABLE: str(os.getpid()), RUN_LOG_VARIABLE: str(log), SLOTS_VARIABLE: str(slots_folder()),
            "TMPDIR": folder, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore",
            **hub_environment(rung.plan.recipe.evaluation, os.environ),
        }  # fmt: skip
        file = Path(folder) / "arguments.json"
        file.write_text(json.dumps(hand_over(arguments, store)))
        command = [sys.executable, "-m", "switchpoint.pipelines.local", str(SPEC), str(file), folder]
        pipeline = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
        try:
            with watch.shown():
                while pipeline.poll() is None:
                    time.sleep(0.2)
                    watch.update()
        except BaseException:
            pipeline.send_signal(signal.SIGTERM)
            pipeline.wait()
            raise
    return pipeline.returncode == 0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if "Error" in line]
    return lines[-1] if lines else f"see {log}"
