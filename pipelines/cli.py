"""The command `switchpoint`. Heavy imports happen inside the commands, so that help answers at once."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="switchpoint", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Continued pretraining as a workflow: GB, switch point, QB, evaluation, comparison of arms.",
)  # fmt: skip

Recipe = Annotated[
    str, typer.Argument(help="A YAML file, or a recipe that ships: quickstart, paper/table_9, ...", metavar="RECIPE")
]
Scale = Annotated[
    str | None, typer.Option("--scale", help="cpu: tokens, model and batch shrunk together, on local text.")
]
Sources = Annotated[
    Path | None, typer.Option("--sources", help="A YAML file that gives the recipe's sources folders.", metavar="FILE")
]
Plot = Annotated[
    Path | None, typer.Option("--plot", help="Draw learning rate and phases of every arm.", metavar="FILE")
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", help="Tokens that may be trained, such as 300B: more is refused.", metavar="TOKENS"),
]
RegisteredArm = Annotated[
    str | None, typer.Option("--arm", help="An arm, or its row with one seed. Not given: the best.", metavar="ARM")
]
ArmOption = Annotated[
    str | None, typer.Option("--arm", help="Only this arm (with several seeds: ARM-seed-N).", metavar="ARM")
]
Image = Annotated[
    str, typer.Option("--image", help="The image of the tasks, by tag or digest. Not given: that of `make images`.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Where the file is written.", metavar="FILE")]
StoreOption = Annotated[str, typer.Option("--store", help="Where outputs are kept: a folder, or s3://bucket/prefix.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
DEFAULT_STORE = ".switchpoint"


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    _debug.append(debug)


_debug: list[bool] = []


@app.command()
def run(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None, arm: ArmOption = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Run the study: what is done is not done again, what was interrupted goes on."""
    from pipelines.run import run_study
    from pipelines.study_file import options_given, read_study

    study, file = read_study(recipe, scale, sources, budget, arm)
    given = options_given(scale, sources, budget, arm)
    code, outcome = run_study(study, file, given, store, _console(as_json))
    _finish(code, outcome, as_json)


@app.command()
def plan(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None, arm: ArmOption = None, plot: Plot = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show what would run and what it costs: phases, tokens and epochs per source, shared runs, what is done."""
    from pipelines.plan_view import print_plan

    rung, kept = _checked(recipe, scale, sources, store, budget, arm)
    console = _console(as_json)
    outcome = print_plan(rung.whole if not rung.is_last else rung.plan, kept, console, rung.most_tokens)
    if plot is not None:
        from pipelines.plan_plot import write_plot

        write_plot(rung.plan, plot)
        console.print(f"plot: {plot}", highlight=False, soft_wrap=True)
    _finish(0, outcome, as_json)


@app.command()
def status(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show every output of the study: done, failed, or how far it is."""
    from pipelines.show import print_status

    rung, kept = _checked(recipe, scale, sources, store)
    _finish(0, print_status(rung.plan, kept, _console(as_json)), as_json)


@app.command()
def report(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show the table of arms, and where the report and MLflow's comparison are."""
    from pipelines.show import print_outcome

    rung, kept = _checked(recipe, scale, sources, store)
    outcome = print_outcome(rung.plan, kept, _console(as_json), is_finished=rung.is_last)
    _finish(0 if outcome["report"] and not outcome["failures"] else 1, outcome, as_json)


@app.command()
def prune(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Remove checkpoints of switch points and ends that no study in the store trains from any more."""
    from pipelines.show import print_pruned

    rung, kept = _checked(recipe, scale, sources, store)
    _finish(0, print_pruned(rung.plan, rung.whole, kept, _console(as_json)), as_json)


@app.command()
def register(
    recipe: Recipe, name: Annotated[str, typer.Argument(help="The registered model.", metavar="NAME")],
    arm: RegisteredArm = None, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Register an arm's model in MLflow's model registry: the best one's, unless --arm names another."""
    from pipelines.register import print_registered

    rung, kept = _checked(recipe, scale, sources, store)
    _finish(0, print_registered(rung, kept, name, arm, _console(as_json)), as_json)


@app.command()
def compile(image: Image = "", output: Output = None, as_json: Json = False) -> None:
    """Compile the pipeline to pipelines/specs/: one file that runs here and on a cluster."""
    from pipelines.compile import SPEC, compile_spec

    path = compile_spec(output or SPEC, image)
    _console(as_json).print(str(path), highlight=False, soft_wrap=True)
    _finish(0, {"spec": str(path)}, as_json)


@app.command()
def doctor(store: StoreOption = DEFAULT_STORE, as_json: Json = False) -> None:
    """Check the environment and say how to mend it."""
    from pipelines.doctor import diagnose

    code, outcome = diagnose(store, _console(as_json))
    _finish(code, outcome, as_json)


@app.command()
def schema(as_json: Json = False) -> None:
    """Print the recipe's JSON Schema, by which editors complete and check recipes."""
    from pipelines.schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=1))


def _checked(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None = None, arm: str | None = None
) -> Any:
    """The study as far as it has come, with every input checked, and the store as it is (nothing is written)."""
    from components.store.opening import store_at
    from pipelines.rungs import current_rung
    from pipelines.study_file import read_study

    study, file = read_study(recipe, scale, sources, budget, arm)
    return current_rung(study, file, where), store_at(where)


def _console(as_json: bool) -> "Console":
    """Tables and progress; beside JSON they go to standard error."""
    from rich.console import Console

    console = Console(stderr=as_json)
    return console if console.is_terminal else Console(stderr=as_json, width=160)


def _finish(code: int, outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome, indent=1))
    raise typer.Exit(code)


def main() -> None:
    from components.recipe.errors import BadInput

    try:
        app()
    except BadInput as error:
        if any(_debug):
            raise
        print(error, file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if any(_debug):
            raise
        print(f"{type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
