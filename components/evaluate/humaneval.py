"""HumanEval (arXiv 2107.03374): the model completes a function, and the function's tests run in the sandbox.

lm-eval's own task runs them unprotected, and loads what runs them from the hub.
"""

from collections.abc import Sequence
from typing import Any

from switchpoint.components.evaluate.sandbox import run

STOP = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
"""The beginnings of code after the function: section 2.1 of the paper."""
MAX_GENERATED_TOKENS = 1024


def task_config(task: str, data: str) -> dict[str, Any]:
    """Return the configuration for lm-eval, which generates; what it generates is scored by `passes`."""
    return {
        "task": task, "dataset_path": data, "test_split": "test", "output_type": "generate_until",
        "doc_to_text": "prompt", "doc_to_target": "canonical_solution", "num_fewshot": 0,
        "generation_kwargs": {"until": list(STOP), "do_sample": False, "max_gen_toks": MAX_GENERATED_TOKENS},
        "metric_list": [{"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}],
    }  # fmt: skip


def program_of(problem: dict[str, Any], completion: str) -> str:
    return f"{problem['prompt']}{completion}\n\n{problem['test']}\n\ncheck({problem['entry_point']})\n"


def passes(problems: Sequence[dict[str, Any]], completions: Sequence[str]) -> list[float]:
    """Return 1 for each completion with which the problem's tests pass, else 0. Raise SandboxUnavailable."""
    # One at a time: models are evaluated side by side, as many as there are cores.
    return [
        float(run(program_of(problem, completion)).passed)
        for problem, completion in zip(problems, completions, strict=True)
    ]
