"""Evaluation suites by name: which of lm-eval's tasks they are made of, and which of their numbers is the score.

All of it decides scores, so all of it is in an evaluation's digest.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

QUICKSTART = "quickstart"
"""The local suite, which always runs: questions and bits per byte on held-out text."""
LOCAL_SCORES = ("bits_per_byte", "accuracy", "accuracy_normalised")
"""Its scores; bits per byte also by source and by category."""
FEWSHOT_SEED = 1234
"""The seed that decides which examples a prompt holds, if a task draws them: lm-eval's own default."""
MAX_GENERATED_SHARE = 0.5
"""The largest share of the model's window that is generated; a model too short for a task's own limit gets a prompt and
an answer of half a window each."""
CODE_SECONDS = 10.0
CODE_MEMORY_BYTES = 1 << 30
"""The memory that a generated program with its checks may take, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One score of a suite."""

    score: str
    parts: tuple[tuple[str, str], ...]
    """Name and lm-eval task, or tag of tasks, of each category; one without a name where there are none."""
    folder: str
    """The folder of the tasks, below lm-eval's own; empty for one that is made here."""
    data: str
    """The data set on the Hugging Face hub."""
    num_shots: int
    metric: str
    filter: str = "none"
    combine: Literal["pooled", "paired"] = "pooled"
    """pooled: the mean over all examples. paired: all parts are the same examples (translations of each other), whose
    means over the parts are what is independent."""
    runs_code: bool = False


SUITES: dict[str, tuple[Benchmark, ...]] = {
    # arXiv 2407.07263, section 4: MMLU, HellaSwag, MGSM (Spanish, Japanese, Thai), HumanEval. It does not say how many
    # shots. Assumption: those that these tasks' own papers and lm-eval use for base models.
    "paper": (
        Benchmark(
            score="mmlu", folder="mmlu/default", data="cais/mmlu", num_shots=5, metric="acc",
            parts=(
                ("stem", "mmlu_stem_tasks"), ("humanities", "mmlu_humanities_tasks"),
                ("social_sciences", "mmlu_social_sciences_tasks"), ("other", "mmlu_other_tasks"),
            ),
        ),
        Benchmark(
            score="hellaswag", folder="hellaswag", data="Rowan/hellaswag", num_shots=0, metric="acc_norm",
            parts=(("", "hellaswag"),),
        ),
        Benchmark(
            score="mgsm", folder="mgsm/native_cot", data="juletxara/mgsm", num_shots=8, metric="exact_match",
            filter="strict-match", combine="paired",
            parts=tuple((language, f"mgsm_native_cot_{language}") for language in ("es", "ja", "th")),
        ),
        Benchmark(
            score="humaneval", folder="", data="openai/openai_humaneval", num_shots=0, metric="pass@1",
            parts=(("", "humaneval"),), runs_code=True,
        ),
    ),
    # What a base model can do before continued pretraining, and should still do after it.
    "retention": (
        Benchmark(
            score="arc_easy", folder="arc", data="allenai/ai2_arc", num_shots=0, metric="acc_norm",
            parts=(("", "arc_easy"),),
        ),
        Benchmark(
            score="arc_challenge", folder="arc", data="allenai/ai2_arc", num_shots=0, metric="acc_norm",
            parts=(("", "arc_challenge"),),
        ),
        Benchmark(
            score="piqa", folder="piqa", data="baber/piqa", num_shots=0, metric="acc_norm", parts=(("", "piqa"),),
        ),
        Benchmark(
            score="winogrande", folder="winogrande", data="allenai/winogrande", num_shots=0, metric="acc",
            parts=(("", "winogrande"),),
        ),
        Benchmark(
            score="lambada", folder="lambada", data="EleutherAI/lambada_openai", num_shots=0, metric="acc",
            parts=(("", "lambada_openai"),),
        ),
    ),
}  # fmt: skip
"""The suites beside `quickstart`."""


def suite_scores(name: str) -> list[str]:
    """Return the scores of a suite, its average (the plain mean of its benchmarks) first."""
    scores = [f"{name}.average"]
    for benchmark in SUITES[name]:
        scores.append(f"{name}.{benchmark.score}")
        scores += [f"{name}.{benchmark.score}.{part}" for part, _ in benchmark.parts if part]
    return scores


def runs_code(name: str) -> bool:
    return any(benchmark.runs_code for benchmark in SUITES[name])


def definition(name: str) -> dict[str, Any]:
    """Return what decides a suite's scores, beside model and data."""
    found: dict[str, Any] = {one.score: asdict(one) | {"parts": dict(one.parts)} for one in SUITES[name]}
    found |= harness_settings()
    if runs_code(name):
        found |= {"code_cpu_seconds": CODE_SECONDS, "code_memory_bytes": CODE_MEMORY_BYTES}
    return found


def harness_settings() -> dict[str, Any]:
    return {"fewshot_seed": FEWSHOT_SEED, "max_generated_share": MAX_GENERATED_SHARE}


def data_sets(names: Iterable[str]) -> list[str]:
    """Return the data sets of suites on the hub, each once."""
    return list(dict.fromkeys(one.data for name in names for one in SUITES.get(name, ())))
