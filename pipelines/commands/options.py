"""The options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = ".switchpoint"
Recipe = Annotated[
    str, typer.Argument(help="A YAML file, or a recipe that ships: quickstart, paper/table_9, ...", metavar="RECIPE")
]
Scale = Annotated[
    str | None, typer.Option("--scale", help="cpu: tokens, model and batch shrunk together, on local text.")
]
Sources = Annotated[
    Path | None, typer.Option("--sources", help="A YAML file that gives the recipe's sources folders.", metavar="FILE")
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", help="Tokens that may be trained, such as 300B: more is refused.", metavar="TOKENS"),
]
ArmOption = Annotated[
    str | None, typer.Option("--arm", help="Only this arm (with several seeds: ARM-seed-N).", metavar="ARM")
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store", envvar="SWITCHPOINT_STORE", help="Where outputs are kept: a folder, or s3://bucket/prefix."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
