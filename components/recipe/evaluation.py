"""What the models of a study are evaluated by."""

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from switchpoint.components.recipe.continual import Continual
from switchpoint.components.recipe.fields import Config, Count, Fraction01
from switchpoint.components.recipe.suites import QUICKSTART, SUITES


class Evaluation(Config):
    """Suites by lm-eval. Bits per byte of every source's held-out text, and questions, are always measured."""

    suites: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: [QUICKSTART])
    """quickstart: bits per byte and questions on held-out text, which need nothing else. paper: MMLU, HellaSwag, MGSM,
    HumanEval (arXiv 2407.07263). retention: what a base model can do (ARC, PIQA, WinoGrande, LAMBADA). A folder with
    lm-eval task files: its tasks (a name without a slash that is none of these is a folder, if there is one)."""
    data_folder: str | None = None
    """Folder with copies of the suites' data sets, each under its name on the Hugging Face hub, such as
    Rowan/hellaswag: for machines that do not reach the hub."""
    run_generated_code: bool = False
    """HumanEval runs programs that a model wrote: in a sandbox, and only where this says so."""
    metric: str | None = None
    """The score that arms are ranked by. Not given: `paper.average` with the suite `paper`, else `bits_per_byte`."""
    questions: Count = 300
    """Multiple-choice questions made from held-out docstrings (all there are, if fewer)."""
    bytes_per_source: Count = 48_000
    """Held-out bytes of each source that bits per byte are measured on (whole documents)."""

    checkpoints: Annotated[list[Literal["switch"] | Fraction01], Field(max_length=100)] = Field(default_factory=list)
    """The checkpoints at which arms are evaluated beside their end: the switch, or the first step at or after a
    fraction of the horizon. Those checkpoints, and their models, are kept."""
    continual: Continual | None = None
    """Evaluation while the runs train. Not given: none."""

    @model_validator(mode="after")
    def _distinct(self) -> "Evaluation":
        names = [suite_name(suite) for suite in self.suites]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ValueError(f"`suites:` has two called `{name}`: their scores would have the same names")
        return self

    @property
    def ranked_by(self) -> str:
        """The score that arms are ranked by."""
        return self.metric or ("paper.average" if "paper" in self.suites else "bits_per_byte")

    @property
    def named_suites(self) -> list[str]:
        return [suite for suite in self.suites if suite in SUITES]

    @property
    def suite_folders(self) -> list[str]:
        return [suite for suite in self.suites if is_folder(suite)]

    @property
    def beyond_local(self) -> list[str]:
        """The suites that need data which is not the study's own."""
        return [suite for suite in self.suites if suite != QUICKSTART]


def is_folder(suite: str) -> bool:
    return "/" in suite


def suite_name(suite: str) -> str:
    """Return the prefix of the names of the suite's scores."""
    return PurePath(suite).name if is_folder(suite) else suite


def evaluation_origin(folder: str) -> str:
    """Return the key of an evaluation set among the inputs."""
    return f"evaluation {folder}"


def suite_origin(folder: str) -> str:
    """Return the key of a folder of tasks among the inputs."""
    return f"suite {folder}"


def data_origin(folder: str) -> str:
    """Return the key of the copies of data sets among the inputs."""
    return f"evaluation data {folder}"
