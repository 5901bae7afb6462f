"""Compiles the pipeline to `pipelines/specs/`: the file that runs here and on a cluster."""

import tempfile
from pathlib import Path

import yaml

from components.recipe.errors import BadInput

SPECS = Path(__file__).parent / "specs"
SPEC = SPECS / "study.yaml"
HEADER = "# Compiled from pipelines/study.py by `switchpoint compile`.\n"


def compile_spec(path: Path = SPEC, image: str = "") -> Path:
    """For tasks in `image`; not given: in the one that `make images` makes.

    Raises BadInput for one that KFP's local runner would refuse.
    """
    from kfp import compiler

    from components.launch.component import IMAGE
    from pipelines.study import study_pipeline

    image = image or IMAGE
    if "python" not in image:
        raise BadInput(
            "python must stand in the image's name", field="--image", given=image, allowed=f"such as {IMAGE}"
        )
    # KFP writes mappings in no fixed order: put in order here, the same code gives the same file.
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "study.yaml"
        compiler.Compiler().compile(study_pipeline, str(written))
        documents = list(yaml.safe_load_all(written.read_text()))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        executor["container"]["image"] = image
    path.write_text(HEADER + yaml.safe_dump_all(documents, sort_keys=True))
    return path
