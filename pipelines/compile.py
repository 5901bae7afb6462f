"""Compiles the pipeline to `pipelines/specs/`: the file that runs here and on a cluster."""

from pathlib import Path

SPECS = Path(__file__).parent / "specs"
SPEC = SPECS / "study.yaml"


def compile_spec(path: Path = SPEC) -> Path:
    from kfp import compiler

    from pipelines.study import study_pipeline

    compiler.Compiler().compile(study_pipeline, str(path))
    return path
