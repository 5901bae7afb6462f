"""What the commands show: a plan, where a study stands, what came out. Tables on the console, the same as data."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from components.blend.blend import source_tokens
from components.recipe.digest import Identity
from components.recipe.epochs import check_sources
from components.recipe.plan import Plan
from components.report import results
from components.report.run import as_data, report_is_there
from components.report.table import Table, build_table
from components.store.store import Store, read_json
from components.tracking.study import Logged
from components.train.run import gb_is_done
from pipelines.progress import labels


def plan_data(plan: Plan, store: Store) -> dict[str, Any]:
    """The plan as data: steps and tokens are exact; epochs are there once a source is tokenised."""
    recipe = plan.recipe
    known = source_tokens(plan, store)
    arms = []
    for arm in plan.arms:
        phases = []
        for phase in arm.phases:
            sources = {
                name: {
                    "weight": float(weight),
                    "tokens": phase.samples[name] * recipe.sequence_length,
                    "epochs": phase.samples[name] * recipe.sequence_length / known[name] if name in known else None,
                }
                for name, weight in recipe.blends[phase.blend].items()
            }
            phases.append(
                {
                    "name": phase.name, "blend": phase.blend, "start_step": phase.start_step,
                    "end_step": phase.end_step,
                    "tokens": (phase.end_step - phase.start_step) * recipe.tokens_per_step, "sources": sources,
                }
            )  # fmt: skip
        arms.append(
            {
                "arm_id": arm.arm_id, "seed": arm.seed, "gb_run": arm.gb_run.digest,
                "switch_step": arm.switch_step if arm.qb_run else None,
                "switch_tokens": arm.switch_step * recipe.tokens_per_step if arm.qb_run else None,
                "switch_learning_rate": arm.switch_learning_rate if arm.qb_run else None,
                "horizon_tokens": arm.horizon_steps * recipe.tokens_per_step, "phases": phases,
            }
        )  # fmt: skip
    return {
        "study": recipe.name,
        "tokens_alone": plan.tokens_alone,
        "tokens_shared": plan.tokens_shared,
        "gb_runs": [
            {"digest": run.identity.digest, "end_step": run.end_step, "keep_steps": list(run.keep_steps)}
            for run in plan.gb_runs
        ],
        "arms": arms,
        "epochs": check_sources(plan, known),
        "cached": [identity.path for identity in plan.identities() if is_done(plan, store, identity)],
        "missing": [
            {"output": identity.path, "why": store.why(identity)}
            for identity in plan.identities()
            if not is_done(plan, store, identity)
        ],
    }


def is_done(plan: Plan, store: Store, identity: Identity) -> bool:
    if identity.step == "gb":
        return gb_is_done(plan.gb_run(identity.digest), store)
    if identity.step == "report":
        return report_is_there(plan, store)
    return store.is_done(identity)


def print_plan(plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    data = plan_data(plan, store)
    recipe = plan.recipe
    console.print(f"[bold]{escape(recipe.name)}[/bold]  {escape(recipe.question)}")
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for title in (
        "arm",
        "phase",
        "blend",
        "steps",
        "tokens",
        "learning rate",
        "drawn from each source (epochs)",
    ):
        table.add_column(title, overflow="fold")
    for arm, planned in zip(data["arms"], plan.arms, strict=True):
        for number, phase in enumerate(arm["phases"]):
            start = planned.schedule.learning_rate(phase["start_step"] * recipe.tokens_per_step)
            end = planned.schedule.learning_rate(phase["end_step"] * recipe.tokens_per_step)
            drawn = ", ".join(
                f"{name} {source['tokens']:,}" + (f" ({source['epochs']:.2f})" if source["epochs"] is not None else "")
                for name, source in phase["sources"].items()
            )
            table.add_row(
                arm["arm_id"] if number == 0 else "", phase["name"].upper(), phase["blend"],
                f"{phase['start_step']} to {phase['end_step']}", f"{phase['tokens']:,}", f"{start:.2e} to {end:.2e}",
                drawn,
            )  # fmt: skip
    console.print(table, highlight=False)
    console.print(
        f"{plan.tokens_shared:,} tokens to train in all ({plan.tokens_alone:,} if every arm were trained alone); "
        f"{len(data['cached'])} of {len(data['cached']) + len(data['missing'])} outputs are there already",
        highlight=False,
    )
    _print_reasons(data, console)
    return data


def _print_reasons(data: dict[str, Any], console: Console) -> None:
    """For outputs that will be made anew: the fields that differ from the nearest one there is."""
    said: set[str] = set()
    for missing in data["missing"]:
        for reason in missing["why"]:
            field = reason.split(":")[0].rsplit(".", 1)[-1]
            if field not in said and len(said) < 12:
                said.add(field)
                console.print(f"  {missing['output']} is made anew: {reason}", highlight=False, markup=False)


def print_status(plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    """Every output: done, failed, or how far it is."""
    listed = []
    shown = labels(plan)
    for identity in plan.identities():
        failure = store.failure(identity)
        progress = read_json(store.path(identity) / "status.json")
        if is_done(plan, store, identity):
            state = "done"
        elif failure:
            state = f"failed: {failure['reason']}"
        elif progress:
            state = f"{progress['state']} from step {progress['step']}"
        else:
            state = "missing"
        listed.append({"output": identity.path, "state": state, "why": store.why(identity)})
        console.print(f"{shown[identity.digest]:<28} {identity.digest}  {state}", highlight=False, markup=False)
    return {"study": plan.recipe.name, "outputs": listed}


def print_scores(table: Table, console: Console) -> None:
    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(table.header):
        shown.add_column(title, justify="left" if number < 2 else "right", no_wrap=number < 1)
    for line in table.lines:
        shown.add_row(*(escape(cell) for cell in line))
    console.print(shown, highlight=False)


def print_outcome(plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    """The table of arms, what failed and why, and where to look next."""
    found = results.rows(plan, store)
    table = build_table(plan, found)
    console.print()
    print_scores(table, console)
    failures = [failure for one in plan.identities() if (failure := store.failure(one)) is not None]
    for failure in failures:
        console.print(f"failed: {failure['step']} {failure['digest']}", style="bold red", highlight=False)
        console.print(f"  {failure['reason']}\n  log: {failure['log']}", highlight=False, markup=False, soft_wrap=True)
    page = store.path(plan.report) / "report.html"
    saved = read_json(store.path(plan.report) / "report.json") or {"rows": [], "compare": []}
    if page.exists():
        console.print(f"report:  {page}", highlight=False, soft_wrap=True)
        for line in saved["compare"]:
            console.print(f"compare: {line}", highlight=False, soft_wrap=True, markup=False)
    logged = Logged("", {row["arm"]: row["mlflow_run"] for row in saved["rows"]})
    return as_data(plan, found, logged) | {"failures": failures, "report": str(page) if page.exists() else ""}
