"""The plan in the form that people read: tables on the console."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from switchpoint.components.data.blend import packed_samples, source_tokens
from switchpoint.components.plan.data import plan_data
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.overrides import described_differences
from switchpoint.components.recipe.phase import START_MODES
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.table import title
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.amounts import amount, size
from switchpoint.pipelines.commands.show import is_done


def print_plan(plan: Plan, store: Store, console: Console, most_tokens: int | None = None) -> dict[str, Any]:
    """Print the plan; return it as data. `most_tokens`: the most tokens that it takes, if arms are stopped early."""
    sizes, packed = source_tokens(plan, store), packed_samples(plan, store)
    data = plan_data(plan, store, sizes, packed, lambda identity: is_done(plan, store, identity), most_tokens)
    recipe = plan.recipe
    console.print(f"[bold]{escape(recipe.name)}[/bold]  {escape(recipe.question)}")
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    priced = data["total"]["gpu_hours"] is not None
    for column in ("arm", "phase", "blend", "steps", "tokens", "learning rate"):
        table.add_column(column, overflow="fold", justify="right" if column in ("steps", "tokens") else "left")
    if priced:
        table.add_column("cost", justify="right")
    table.add_column("drawn from each source (epochs)", overflow="fold")
    for arm in data["arms"]:
        for number, phase in enumerate(arm["phases"]):
            first = number == 0
            cells = [
                escape(arm["run_name"]) if first else "", phase["name"], escape(phase["blend"]), _steps(phase),
                _at_most(phase) + amount(phase["tokens"]),
                f"{phase['start_learning_rate']:.2e} to {phase['end_learning_rate']:.2e}",
            ]  # fmt: skip
            cells += [_money(arm["cost_usd"]) if first else ""] if priced else []
            table.add_row(*cells, _drawn(phase))
    console.print(table, highlight=False)
    data["most_tokens"] = most_tokens
    for line in _lines(plan, data):
        console.print(line, highlight=False, markup=False)
    for warning in data["warnings"]:
        console.print(f"note: {warning}", style="yellow", highlight=False, markup=False)
    for excess in data["over_budget"]:
        console.print(f"over budget: {excess}", style="bold red", highlight=False, markup=False)
    _print_reasons(data, console)
    return data


def _money(usd: float | None) -> str:
    return "" if usd is None else f"${usd:,.2f}" if usd < 100 else f"${usd:,.0f}"


def _at_most(phase: dict[str, Any]) -> str:
    """Before a figure that a gate may still make smaller."""
    return "up to " if phase.get("is_upper_bound") else ""


def _steps(phase: dict[str, Any]) -> str:
    return f"{phase['start_step']:,} to {phase['end_step']:,}"


def _drawn(phase: dict[str, Any]) -> str:
    shown = []
    for name, source in phase["sources"].items():
        tier = f"@{source['tier']}" if "tier" in source and "@" not in name else ""
        epochs = f" ({source['epochs']:.2f})" if source["epochs"] is not None else ""
        shown.append(f"{name}{tier} {amount(source['tokens'])}{epochs}")
    return ", ".join(shown)


def _lines(plan: Plan, data: dict[str, Any]) -> list[str]:
    start = data["start"]
    lines = [f"start: {start} ({START_MODES[start]})"]
    later = {phase["start"] for arm in data["arms"] for phase in arm["phases"][1:]}
    lines += [f"then:  {mode} ({START_MODES[mode]})" for mode in START_MODES if mode in later]
    if any(phase["new_order"] for arm in data["arms"] for phase in arm["phases"]):
        lines.append("       another sequence length, or data at 0, begins a new order of every source; epochs add up")
    lines += [_base(base, data["arms"]) for base in data["bases"] if plan.recipe.bases]
    lines += [
        f"GB run {run['digest']} ({run['blend']}{_seed(plan, run)}): steps {_steps(run)}, kept at "
        f"{', '.join(f'{step:,}' for step in run['keep_steps'])}"
        for run in data["gb_runs"]
    ]
    lines += [f"arm {name}: {difference}" for name, difference in described_differences(plan).items()]
    gates: dict[str, list[str]] = {}
    for arm in data["arms"]:
        for phase in arm["phases"]:
            if "gate" in phase:
                gates.setdefault(phase["gate"], []).append(arm["run_name"])
    lines += [f"{gate} (of {', '.join(names)})" for gate, names in gates.items()]
    lines += [f"merge {one['name']}: {one['of']}" for one in data["merges"]]
    alone, shared = data["tokens_alone"], data["tokens_shared"]
    saved = f", {1 - shared / alone:.0%} less than the {amount(alone)} of every arm by itself" if shared < alone else ""
    lines.append(f"to train: {_at_most(data)}{amount(shared)} tokens{saved}")
    halving = plan.recipe.halving
    if halving is not None and data["most_tokens"] is not None:
        points = ", ".join(f"{float(point):.0%}" for point in halving.at)
        metric = title(halving.metric or plan.recipe.evaluation.ranked_by)
        lines.append(
            f"halving: at {points} of the horizon the better {halving.keep} of the arms, by {metric}, goes on: at most "
            f"{amount(data['most_tokens'])} tokens in all"
        )
    hardware, total, memory = plan.recipe.hardware, data["total"], data["memory"]
    if total["flops"] is not None:
        lines[-1] += f"; {total['flops']:.3g} FLOPs"
    if hardware and total["gpu_hours"] is not None:
        part = 1.0 if data["most_tokens"] is None else data["most_tokens"] / data["tokens_shared"]
        total = {name: value * part for name, value in total.items()}
        at_most = "at most " if part < 1 else ""
        days = total["gpu_hours"] / hardware.num_gpus / 24
        lines.append(
            f"on {hardware.num_gpus:,} {hardware.gpu} at {hardware.mfu:.0%} MFU: {at_most or _at_most(data)}"
            f"{total['gpu_hours']:,.0f} GPU-hours ({days:,.1f} days), {_money(total['cost_usd'])} at "
            f"${hardware.usd_per_gpu_hour:g} an hour"
        )
        if part == 1 and data["left_to_do"]["gpu_hours"] != total["gpu_hours"]:
            lines[-1] += f"; left to do: {_money(data['left_to_do']['cost_usd'])}"
    if memory:
        needed, there = memory["needed_bytes_per_gpu"], memory["gpu_bytes"]
        verdict = "" if needed < 0.9 * there else ": too much; more GPUs or a smaller micro_batch_size"
        lines.append(f"memory: about {size(needed)} of the {size(there)} of each GPU{verdict}")
    if data["checkpoint_bytes"] is not None:
        lines.append(f"checkpoints and models that are kept: {size(data['checkpoint_bytes'])}")
    for base in data["bases"]:
        if "tokens" in base:
            name = "base" if base["name"] == BASE else f"base {base['name']}"
            lines.append(f"{name}: pretrained here on {amount(base['tokens'])} tokens")
    for one in data.get("generated", []):
        flops = f": {one['flops']:.3g} FLOPs" if one["flops"] is not None else ""
        cost = f", at least {_money(one['cost_usd'])}" if one["cost_usd"] is not None else ""
        lines.append(
            f"source {one['name']}: {amount(one['tokens'])} tokens that {one['from']} generates at temperature "
            f"{one['temperature']:g}{flops}{cost}"
        )
    if data["bound"]:
        bound = ", ".join(f"{name} to {part}" for name, part in data["bound"].items())
        lines.append(f"bound to text of the Python environment: {bound}")
    if data["left_out"]:
        lines.append(f"without text, so their weight goes to the others in proportion: {', '.join(data['left_out'])}")
    done, missing = len(data["cached"]), len(data["missing"])
    lines.append(f"{done} of {done + missing} outputs are there already")
    return lines


def _base(base: dict[str, Any], arms: list[dict[str, Any]]) -> str:
    """Return what a base is, and which arms start from it."""
    names = [arm["run_name"] for arm in arms if arm["base"] == base["name"]]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"base {base['name']} ({base['described']}): {', '.join(names[:6]) or 'no arm starts from it'}{more}"


def _seed(plan: Plan, run: dict[str, Any]) -> str:
    return f", seed {run['seed']}" if len({arm.seed for arm in plan.arms}) > 1 else ""


def _print_reasons(data: dict[str, Any], console: Console) -> None:
    """Print for outputs that the study's last plan had otherwise the fields that changed."""
    said: set[str] = set()
    for missing in data["missing"]:
        for reason in missing["why"]:
            field = reason.split(":")[0].rsplit(".", 1)[-1]
            if field not in said and len(said) < 12:
                said.add(field)
                console.print(f"  {missing['output']} is made anew: {reason}", highlight=False, markup=False)
