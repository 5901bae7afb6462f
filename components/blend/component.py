"""KFP components: prepare_text, train_tokenizer, tokenise, build_blend."""

from typing import Dict

from components.launch.component import component


@component
def prepare_text(plan: str) -> None:
    """Text of all sources, split into train and held-out."""
    from components.blend.text import prepare_text as prepare
    from components.launch.task import task
    from components.store.plan_file import load_plan

    planned = load_plan(plan)
    for identity in planned.plan.texts.values():
        with task(planned.store, identity):
            prepare(planned.plan, planned.store, identity)


@component
def train_tokenizer(plan: str) -> None:
    """A tokenizer trained on the training text, or the user's own."""
    from components.blend.tokenizer import train_tokenizer as train
    from components.launch.task import task
    from components.store.plan_file import load_plan

    planned = load_plan(plan)
    with task(planned.store, planned.plan.tokenizer):
        train(planned.plan, planned.store)


@component
def tokenise(item: Dict) -> None:
    """One source's token file. `item`: plan and source."""
    from components.blend.tokenise import tokenise as write_tokens
    from components.launch.task import task
    from components.store.plan_file import load_plan

    planned = load_plan(item["plan"])
    with task(planned.store, planned.plan.tokens[item["source"]]):
        write_tokens(planned.plan, planned.store, item["source"])


@component
def build_blend(plan: str) -> None:
    """Blends resolved against the token files; epochs and caps checked exactly."""
    from components.blend.blend import build_blends
    from components.launch.task import task
    from components.store.plan_file import load_plan

    planned = load_plan(plan)
    with task(planned.store, next(iter(planned.plan.blends.values())).blend_identity):
        build_blends(planned.plan, planned.store, planned.recipe_file)
