"""One model's scores in the suites with data of their own, by lm-eval."""

from collections.abc import Iterable, Sequence
from typing import Any

from switchpoint.components.evaluate import humaneval
from switchpoint.components.evaluate.load import LoadedBenchmark
from switchpoint.components.evaluate.scores import Results, mean_of_scores, means_of_pairs, resampled_score
from switchpoint.components.recipe.suites import FEWSHOT_SEED, MAX_GENERATED_SHARE, SUITES, Benchmark


def evaluate_suites(lm: Any, loaded: Sequence[LoadedBenchmark]) -> Results:
    """Return the scores of one model; named suites also have `SUITE.average`, the plain mean of their benchmarks."""
    results = Results()
    for one in loaded:
        results.update(_evaluate_benchmark(lm, one))
    for suite in dict.fromkeys(one.suite for one in loaded if one.suite in SUITES):
        names = [one.name for one in loaded if one.suite == suite]
        results.scores[f"{suite}.average"] = mean_of_scores([results.scores[name] for name in names])
    return results


def _evaluate_benchmark(lm: Any, one: LoadedBenchmark) -> Results:
    from lm_eval.evaluator import evaluate

    for task in one.tasks:
        task.set_fewshot_seed(FEWSHOT_SEED)  # every model gets the same prompts
        if task.config.task in one.max_generated:
            most = min(one.max_generated[task.config.task], int(lm.max_length * MAX_GENERATED_SHARE))
            task.config.generation_kwargs = {**task.config.generation_kwargs, "max_gen_toks": most}
    found = evaluate(lm, {task.config.task: task for task in one.tasks}, bootstrap_iters=0, log_samples=True)
    assert found is not None
    values = {
        part: [value for task in tasks for value in _values(one.benchmark, found["samples"][task.config.task])]
        for part, tasks in one.parts.items()
    }
    results = Results()
    num_cut = sum(_num_cut(lm, task, found["samples"][task.config.task], one.benchmark.filter) for task in one.tasks)
    results.prompts_cut |= {one.name: num_cut} if num_cut else {}
    # Reported only then: for most scores higher is better.
    lower = {} if one.tasks[0].higher_is_better().get(one.benchmark.metric, True) else {"lower_is_better": 1.0}
    aggregate = one.tasks[0].aggregation().get(one.benchmark.metric)
    if not one.benchmark.runs_code and not _is_mean(aggregate):
        listed = [value for part in values.values() for value in part]
        # No examples: the score is not their mean, so that arms cannot be compared by resampling them.
        results.scores[one.name] = resampled_score(listed, aggregate) | lower
        return results
    paired = one.benchmark.combine == "paired"
    whole = means_of_pairs(list(values.values())) if paired else [value for part in values.values() for value in part]
    results.add_mean(one.name, whole).update(lower)
    for part, listed in values.items():
        if part:
            results.add_mean(f"{one.name}.{part}", listed)
    return results


def _num_cut(lm: Any, task: Any, samples: Iterable[dict[str, Any]], filter_name: str) -> int:
    """Return how many examples' prompts do not fit into the window, so that lm-eval left out their beginning."""
    if task.OUTPUT_TYPE == "generate_until":
        room = lm.max_length - task.config.generation_kwargs["max_gen_toks"]
    elif task.OUTPUT_TYPE == "loglikelihood_rolling":
        return 0  # in pieces
    else:
        room = lm.max_length + 1  # the last token is only predicted
    num_cut = 0
    for sample in samples:
        if sample["filter"] == filter_name:
            texts = ["".join(part for part in arguments if isinstance(part, str)) for arguments in sample["arguments"]]
            num_cut += len(lm.tok_encode(max(texts, key=len))) > room
    return num_cut


def _values(benchmark: Benchmark, samples: Iterable[dict[str, Any]]) -> list[Any]:
    """Return the metric's value for each example, in the order of the documents."""
    ordered = sorted(
        (one for one in samples if one["filter"] == benchmark.filter), key=lambda sample: int(sample["doc_id"])
    )
    if benchmark.runs_code:
        return list(humaneval.passes([one["doc"] for one in ordered], [one["filtered_resps"][0] for one in ordered]))
    for one in ordered:
        if benchmark.metric not in one:
            raise ValueError(
                f"task {benchmark.score}: an example has no {benchmark.metric}, only {', '.join(one['metrics'])}"
            )
    values = [one[benchmark.metric] for one in ordered]
    return [float(value) if not isinstance(value, list | tuple | str) else value for value in values]


def _is_mean(aggregate: Any) -> bool:
    from lm_eval.api.metrics import mean

    return aggregate is mean
