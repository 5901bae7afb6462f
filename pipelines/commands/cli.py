"""The command `switchpoint`. Heavy imports happen inside the commands, so that help answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from switchpoint.pipelines.commands.cli_cluster import cluster_app
from switchpoint.pipelines.commands.command import check_answers, checked, console_for, finish, followed
from switchpoint.pipelines.commands.options import (
    DEFAULT_STORE,
    ArmOption,
    Budget,
    Json,
    Recipe,
    Scale,
    Sources,
    StoreOption,
)

app = typer.Typer(
    name="switchpoint", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Continued pretraining as a workflow: GB, switch point, QB, evaluation, comparison of arms.",
)  # fmt: skip

Plot = Annotated[
    Path | None, typer.Option("--plot", help="Draw learning rate and phases of every arm.", metavar="FILE")
]
RegisteredArm = Annotated[
    str | None, typer.Option("--arm", help="An arm, or its row with one seed. Not given: the best.", metavar="ARM")
]


app.add_typer(cluster_app)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    _debug.append(debug)


_debug: list[bool] = []


@app.command()
def run(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None, arm: ArmOption = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Run the study: what is done is skipped, what was interrupted is resumed."""
    from switchpoint.pipelines.commands.run import run_study
    from switchpoint.pipelines.commands.study_file import options_given, read_study

    study, file = read_study(recipe, scale, sources, budget, arm)
    given = options_given(scale, sources, budget, arm)
    check_answers(store)
    code, outcome = run_study(study, file, given, store, console_for(as_json))
    finish(code, outcome, as_json)


@app.command()
def plan(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None, arm: ArmOption = None, plot: Plot = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show what would run and what it costs: phases, tokens and epochs per source, shared runs, what is done."""
    from switchpoint.pipelines.commands.plan_view import print_plan

    rung, kept = checked(recipe, scale, sources, store, budget, arm)
    console = console_for(as_json)
    outcome = print_plan(rung.whole if not rung.is_last else rung.plan, kept, console, rung.most_tokens)
    if plot is not None:
        from switchpoint.pipelines.commands.plan_plot import write_plot

        write_plot(rung.plan, plot)
        console.print(f"plot: {plot}", highlight=False, soft_wrap=True)
    finish(0, outcome, as_json)


@app.command()
def status(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show where every arm and output of the study stands, and its run in Kubeflow Pipelines."""
    from switchpoint.pipelines.commands.follow import print_arms
    from switchpoint.pipelines.commands.show import print_status

    rung, kept = followed(recipe, scale, sources, store)
    console = console_for(as_json)
    arms = print_arms(rung.study, rung.plan, kept, console)
    finish(0, print_status(rung.plan, kept, console) | arms, as_json)


@app.command()
def report(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show the table of arms, and where the report and MLflow's comparison are; write the report if there is none."""
    from switchpoint.pipelines.commands.outcome import is_begun, write_missing_report
    from switchpoint.pipelines.commands.show import print_outcome
    from switchpoint.pipelines.commands.study_file import options_given, recipe_path

    rung, kept = followed(recipe, scale, sources, store)
    if is_begun(rung.plan, kept):
        options = options_given(scale, sources, None, None)
        write_missing_report(rung.plan, kept, str(recipe_path(recipe)), options, is_finished=rung.is_last, may_run=True)
    outcome = print_outcome(rung.plan, kept, console_for(as_json), is_finished=rung.is_last)
    finish(0 if outcome["report"] and not outcome["without_scores"] else 1, outcome, as_json)


@app.command()
def prune(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Remove checkpoints of switch points and ends that no study in the store trains from any more."""
    from switchpoint.pipelines.commands.show import print_pruned

    rung, kept = followed(recipe, scale, sources, store)
    finish(0, print_pruned(rung.plan, rung.whole, kept, console_for(as_json)), as_json)


@app.command()
def register(
    recipe: Recipe, name: Annotated[str, typer.Argument(help="The registered model.", metavar="NAME")],
    arm: RegisteredArm = None, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Register an arm's model in MLflow's model registry: the best one's, unless --arm names another."""
    from switchpoint.pipelines.commands.register import print_registered

    rung, kept = followed(recipe, scale, sources, store)
    finish(0, print_registered(rung, kept, name, arm, console_for(as_json)), as_json)


@app.command()
def doctor(
    store: StoreOption = DEFAULT_STORE,
    cluster: Annotated[bool, typer.Option("--cluster", help="Check the cluster instead.")] = False,
    as_json: Json = False,
) -> None:
    """Check the environment, or the cluster, and say how to fix it."""
    from switchpoint.pipelines.commands.doctor import checks, diagnose
    from switchpoint.pipelines.commands.doctor_cluster import cluster_checks

    code, outcome = diagnose(cluster_checks(store) if cluster else checks(store), console_for(as_json))
    finish(code, outcome, as_json)


@app.command()
def schema(as_json: Json = False) -> None:
    """Print the recipe's JSON Schema, by which editors complete and check recipes."""
    from switchpoint.pipelines.schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=1))


def main() -> None:
    from switchpoint.components.recipe.errors import BadInput, reason_of

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
        print(f"{reason_of(error)} (--debug shows where)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
