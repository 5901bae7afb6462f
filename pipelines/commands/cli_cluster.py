"""Commands that need a cluster: compile, submit, logs, cancel, retry."""

from pathlib import Path
from typing import Annotated

import typer

from switchpoint.pipelines.commands.command import check_answers, console_for, finish, followed
from switchpoint.pipelines.commands.options import DEFAULT_STORE, Budget, Json, Recipe, Scale, Sources, StoreOption

cluster_app = typer.Typer()

Image = Annotated[
    str, typer.Option("--image", help="The image of the tasks, by tag or digest. Not given: that of `make images`.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Where the spec is written.", metavar="FILE")]
VolumeOption = Annotated[
    str,
    typer.Option("--volume", help="A volume that all tasks mount, if the store lies on one.", metavar="CLAIM:/PATH"),
]
Namespace = Annotated[str, typer.Option("--namespace", help="Of Kubeflow Pipelines, for `kubectl apply`.")]
Study = Annotated[
    str | None,
    typer.Option("--study", help="Print the parameters of a run of this recipe instead, as JSON.", metavar="RECIPE"),
]


@cluster_app.command()
def compile(
    image: Image = "", volume: VolumeOption = "", output: Output = None, namespace: Namespace = "kubeflow",
    study: Study = None, scale: Scale = None, sources: Sources = None, store: StoreOption = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Compile the pipeline to pipelines/specs/: for KFP's page and this machine, and for `kubectl apply`."""
    import json

    from switchpoint.pipelines.compile import KUBERNETES_SPEC, SPEC, compile_kubernetes_spec, compile_spec

    if study is not None:
        from switchpoint.components.recipe.load import parse_recipe
        from switchpoint.components.store.study_file import check_size
        from switchpoint.pipelines.commands.study_file import options_given, read_study
        from switchpoint.pipelines.commands.submit import parameters_of

        read, file = read_study(study, scale, sources)
        parse_recipe(read, file)
        parameters = parameters_of(read, file, options_given(scale, sources, None, None), store)
        check_size(parameters)
        print(json.dumps(parameters, indent=1))
        raise typer.Exit(0)
    path = compile_spec(output or SPEC, image, volume)
    beside = path.with_name(f"{path.stem}.kubernetes.yaml") if output else KUBERNETES_SPEC
    compile_kubernetes_spec(path, beside, namespace)
    console = console_for(as_json)
    for written in (path, beside):
        console.print(str(written), highlight=False, soft_wrap=True)
    finish(0, {"spec": str(path), "kubernetes_spec": str(beside)}, as_json)


@cluster_app.command()
def submit(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="First run 5 steps of each phase, to their end.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run the study on Kubeflow Pipelines: its price and need of space first, then the run."""
    from switchpoint.pipelines.commands.study_file import options_given, read_study
    from switchpoint.pipelines.commands.submit import submit_study

    study, file = read_study(recipe, scale, sources, budget)
    given = options_given(scale, sources, budget, None)
    check_answers(store)
    code, outcome = submit_study(study, file, given, store, console_for(as_json), smoke=smoke, budget=budget)
    finish(code, outcome, as_json)


@cluster_app.command()
def logs(
    recipe: Recipe, arm: Annotated[str, typer.Argument(help="A row of the report.", metavar="ARM")],
    scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE, as_json: Json = False,
) -> None:  # fmt: skip
    """Show what an arm's jobs wrote last."""
    from switchpoint.pipelines.commands.logs import print_logs

    rung, kept = followed(recipe, scale, sources, store)
    finish(0, print_logs(rung.plan, kept, arm, console_for(as_json)), as_json)


@cluster_app.command()
def cancel(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Cancel the study's run on Kubeflow Pipelines; trainers write a checkpoint first."""
    from switchpoint.pipelines.commands.run_control import cancel_run

    check_answers(store)
    finish(0, cancel_run(recipe, scale, sources, store, budget, console_for(as_json)), as_json)


@cluster_app.command()
def retry(
    recipe: Recipe, scale: Scale = None, sources: Sources = None, store: StoreOption = DEFAULT_STORE,
    budget: Budget = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Start a new run of the study on Kubeflow Pipelines: what is done is skipped, what failed is retried."""
    from switchpoint.pipelines.commands.run_control import retry_run

    check_answers(store)
    finish(0, retry_run(recipe, scale, sources, store, budget, console_for(as_json)), as_json)
