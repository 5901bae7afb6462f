"""The DAG: one pipeline for every study, on one machine and on a cluster.

plan -> prepare_text -> train_tokenizer -> tokenise (loop) -> build_blend -> prepare_evaluation -> train_base
-> train_gb (loop over GB runs) -> join -> train_qb (loop over arms) -> evaluate
-> report (exit handler: written whatever failed)

Three rules keep the compiled file running as it reads (docs/decisions.md, "The DAG"): a loop runs over an output named
`Output`; inside a loop a task takes the whole item and nothing from outside; a task after a loop reads what the loop
made from the store.
"""

from pathlib import Path

from kfp import dsl

from components.blend.component import build_blend, prepare_text, tokenise, train_tokenizer
from components.evaluate.component import evaluate, prepare_evaluation
from components.plan.component import plan
from components.recipe.load import load_study
from components.report.component import report
from components.train.component import join, train_base, train_gb, train_qb
from pipelines.site import with_site

QUICKSTART = Path(__file__).parent / "recipes" / "quickstart.yaml"


@dsl.pipeline(name="switchpoint-study", description="Continued pretraining: GB, switch, QB, evaluation, comparison")
def study_pipeline(
    study: dict = load_study(QUICKSTART),  # noqa: B008
    store: str = "",
    recipe_file: str = "pipelines/recipes/quickstart.yaml",
    options: str = "",
    stops: dict = {},  # noqa: B006
) -> None:
    with dsl.ExitHandler(with_site(report(study=study, store=store, stops=stops), mlflow=True), name="study"):
        planned = with_site(plan(study=study, store=store, recipe_file=recipe_file, options=options, stops=stops))
        reference = planned.outputs["plan"]
        text = with_site(prepare_text(plan=reference))
        tokenizer = with_site(train_tokenizer(plan=reference)).after(text)
        with dsl.ParallelFor(planned.outputs["Output"], name="shards") as group:
            tokens = with_site(tokenise(item=group)).after(tokenizer)
        blend = with_site(build_blend(plan=reference)).after(tokens)
        ready = with_site(prepare_evaluation(plan=reference)).after(blend)
        base = with_site(train_base(plan=reference), mlflow=True).after(ready)
        with dsl.ParallelFor(base.output, name="gb-runs") as gb_run:
            trained_gb = with_site(train_gb(item=gb_run), mlflow=True)
        # A GB run's failure must not keep the other arms from going on.
        arms = with_site(join(plan=reference)).after(trained_gb).ignore_upstream_failure()
        with dsl.ParallelFor(arms.output, name="arms") as arm:
            trained_qb = with_site(train_qb(item=arm), mlflow=True)
        evaluation = with_site(evaluate(plan=reference)).after(trained_qb)
        # `ignore_upstream_failure()` of KFP 2.17 looks for a TaskConfig among the arguments: KeyError.
        evaluation._ignore_upstream_failure_tag = True
