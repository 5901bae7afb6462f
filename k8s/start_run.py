"""Starts a run of the compiled pipeline on Kubeflow Pipelines: `python k8s/start_run.py RECIPE --store s3://...`."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from components.recipe.load import load_study
from pipelines.compile import SPEC

LAUNCHER = "switchpoint-launcher"


def main(
    recipe: Path,
    store: Annotated[str, typer.Option(help="An object store that tasks and training pods reach.")],
    added: Annotated[Path | None, typer.Option(help="YAML that is added to the recipe, such as its cluster.")] = None,
    spec: Annotated[Path, typer.Option(help="The compiled pipeline.")] = SPEC,
    host: Annotated[str, typer.Option(help="KFP's API.")] = "http://localhost:8888",
) -> None:
    from kfp import Client

    study = load_study(recipe) | (yaml.safe_load(added.read_text()) if added else {})
    run = Client(host=host).create_run_from_pipeline_package(
        str(spec), run_name=study["name"], service_account=LAUNCHER, enable_caching=False,
        # What is done already is found in the store, by its digest: KFP's cache would not see a changed image.
        arguments={"study": study, "store": store, "recipe_file": str(recipe)},
    )  # fmt: skip
    print(f"run {run.run_id}")


if __name__ == "__main__":
    typer.run(main)
