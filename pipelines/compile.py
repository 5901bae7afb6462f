"""Compiles the pipeline to `pipelines/specs/`: the file that runs here and on a cluster."""

import tempfile
from pathlib import Path

import yaml

SPECS = Path(__file__).parent / "specs"
SPEC = SPECS / "study.yaml"
HEADER = "# Compiled from pipelines/study.py by `switchpoint compile`.\n"


def compile_spec(path: Path = SPEC) -> Path:
    from kfp import compiler

    from pipelines.study import study_pipeline

    # KFP writes mappings in no fixed order: put in order here, the same code gives the same file.
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "study.yaml"
        compiler.Compiler().compile(study_pipeline, str(written))
        documents = list(yaml.safe_load_all(written.read_text()))
    path.write_text(HEADER + yaml.safe_dump_all(documents, sort_keys=True))
    return path
