"""`switchpoint logs`: what an arm's jobs wrote, from their pods where there are any, or as it was kept."""

from pathlib import Path
from typing import Any

from rich.console import Console

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.problems import unknown
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.pods import pods_with

TAIL_LINES = 200


def print_logs(plan: Plan, store: Store, run_name: str, console: Console) -> dict[str, Any]:
    """Print the last lines of every run that the arm is made of, oldest first. Raise BadInput for an unknown arm."""
    if run_name not in {arm.run_name for arm in plan.arms}:
        raise unknown("arm", run_name, [arm.run_name for arm in plan.arms])
    listed = []
    for identity in plan.arm(run_name).runs:
        for name, text in logs_of(store, identity, console):
            console.print(f"--- {identity.path}  {name}", style="bold", highlight=False, markup=False)
            console.print(text.rstrip(), highlight=False, markup=False, soft_wrap=True)
            listed.append({"output": identity.path, "log": name, "text": text})
    if not listed:
        console.print(f"{run_name} has left no log yet", highlight=False, markup=False)
    return {"arm": run_name, "logs": listed}


def logs_of(store: Store, identity: Identity, console: Console) -> list[tuple[str, str]]:
    """Return names and last lines: of pods that are there, otherwise of the newest job's files."""
    found = _of_pods(identity, console)
    if found:
        return found
    folder = store.fetch_folder(f"logs/{identity.path}")
    written = (path for path in folder.rglob("*.log") if path.stat().st_size)
    files = sorted(written, key=lambda path: path.stat().st_mtime)
    newest = {path.parent if path.parent != folder else path for path in files[-1:]}
    shown = [path for path in files if path in newest or path.parent in newest]
    return [(path.relative_to(folder).as_posix(), _tail(path)) for path in shown if path.name != "combined.log"]


def _of_pods(identity: Identity, console: Console) -> list[tuple[str, str]]:
    looked = pods_with(f"switchpoint/output={identity.digest}", console)
    if looked is None:
        return []
    api, pods = looked
    names = [pod["metadata"]["name"] for pod in pods]
    return [(name, text) for name in names if (text := api.pod_log(name, TAIL_LINES))]


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-TAIL_LINES:])
