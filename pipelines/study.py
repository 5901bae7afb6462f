"""The DAG: one pipeline for every study, on one machine and on a cluster.

plan -> prepare_text -> train_tokenizer -> tokenise (loop) -> build_blend -> prepare_evaluation -> train_base
-> train_gb (loop over GB runs) -> join -> train_qb (loop over arms) -> join_arms -> derive (loop over what is made of
arms) -> evaluate -> report -> check_outcome

Five rules keep the compiled file running as it reads, here and on a cluster (docs/decisions.md, "The DAG"):
1. A loop runs over an output named `Output`, which is never empty: nothing to do is one item that says so.
2. Inside a loop a task takes the whole item and nothing from outside.
3. A task after a loop reads what the loop made from the store.
4. No task waits for the end of others whether they failed or not: a failed arm is data, so its task succeeds.
5. Outside loops a task takes the plan's reference from the task before it.
"""

from pathlib import Path

from kfp import dsl
from kfp.dsl import PipelineTask

from switchpoint.components.data.component import build_blend, prepare_text, tokenise, train_tokenizer
from switchpoint.components.derive.component import derive, join_arms
from switchpoint.components.evaluate.component import evaluate, prepare_evaluation
from switchpoint.components.plan.component import plan
from switchpoint.components.recipe.load import load_study
from switchpoint.components.report.component import check_outcome, report
from switchpoint.components.stages.component import join, train_base, train_gb, train_qb
from switchpoint.pipelines.site import with_site

QUICKSTART = Path(__file__).parent / "recipes" / "quickstart.yaml"


def _short(task: PipelineTask, *, mlflow: bool = False) -> PipelineTask:
    """Prepare a task that follows no Job. Without a retry of its own it is tried three times where its pod is lost.

    Kubeflow Pipelines has Argo retry every template twice where a pod is lost, the DAG around a task's pod included:
    with both, one broken pod is tried nine times. A launcher keeps both, since a Job that nobody follows costs more.
    """
    return with_site(task, mlflow=mlflow).set_retry(num_retries=0)


@dsl.pipeline(name="switchpoint-study", description="Continued pretraining: GB, switch, QB, evaluation, comparison")
def study_pipeline(
    study: dict = load_study(QUICKSTART),  # noqa: B008
    store: str = "",
    recipe_file: str = "pipelines/recipes/quickstart.yaml",
    options: str = "",
    stops: dict = {},  # noqa: B006
) -> None:
    planned = _short(plan(study=study, store=store, recipe_file=recipe_file, options=options, stops=stops))
    text = _short(prepare_text(plan=planned.output))
    tokenizer = _short(train_tokenizer(plan=text.output))
    with dsl.ParallelFor(tokenizer.outputs["Output"], name="shards") as group:
        tokens = _short(tokenise(item=group))
    blend = _short(build_blend(plan=tokenizer.outputs["plan"])).after(tokens)
    ready = with_site(prepare_evaluation(plan=blend.output))
    base = with_site(train_base(plan=ready.output), mlflow=True)
    with dsl.ParallelFor(base.outputs["Output"], name="gb-runs") as gb_group:
        trained_gb = with_site(train_gb(item=gb_group), mlflow=True)
    joined = _short(join(plan=base.outputs["plan"])).after(trained_gb)
    with dsl.ParallelFor(joined.outputs["Output"], name="arms") as arm_group:
        trained_qb = with_site(train_qb(item=arm_group), mlflow=True)
    arms_joined = _short(join_arms(plan=joined.outputs["plan"])).after(trained_qb)
    with dsl.ParallelFor(arms_joined.outputs["Output"], name="derived") as derived_group:
        derived = _short(derive(item=derived_group))
    evaluated = with_site(evaluate(plan=arms_joined.outputs["plan"])).after(derived)
    reported = _short(report(plan=evaluated.output), mlflow=True)
    _short(check_outcome(plan=reported.outputs["Output"]))
