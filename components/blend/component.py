"""KFP components: prepare_text, train_tokenizer, tokenise, build_blend."""

from typing import Dict

from components.launch.component import component


@component
def prepare_text(plan: str) -> None:
    """What is known of the text before it is tokenised: text that is made from this environment, split into train and
    held-out; what the evaluation sets hold; which documents repeat others.
    """
    from components.blend.contamination import read_evaluation_sets
    from components.blend.duplicates import find_duplicates
    from components.blend.mining import mine
    from components.blend.shards import read_corpora
    from components.blend.text import prepare_text as prepare
    from components.launch.task import task
    from components.recipe.source import GENERATED_ORIGINS, origin_of
    from components.store.plan_file import load_plan

    planned = load_plan(plan)
    corpora = read_corpora(planned.corpora)
    for origin, identity in planned.plan.texts.items():
        if origin in GENERATED_ORIGINS:
            with task(planned.store, identity):
                prepare(planned.plan, planned.store, identity)
    for name, source in planned.plan.sources_with_text().items():
        if source.mine:
            with task(planned.store, planned.plan.texts[origin_of(source)]):
                mine(planned.plan, planned.store, corpora, name)
    if planned.plan.contamination is not None:
        with task(planned.store, planned.plan.contamination):
            read_evaluation_sets(planned.plan, planned.store, corpora)
    for name, identity in planned.plan.duplicates.items():
        with task(planned.store, identity):
            find_duplicates(planned.plan, planned.store, corpora, name)


@component
def train_tokenizer(plan: str) -> None:
    """A tokenizer trained on the training text, or the user's own; and the models that score documents."""
    from components.blend.quality import train_scorer
    from components.blend.shards import read_corpora
    from components.blend.tokenizer import train_tokenizer as train
    from components.launch.task import task
    from components.store.plan_file import load_plan

    planned = load_plan(plan)
    corpora = read_corpora(planned.corpora)
    with task(planned.store, planned.plan.tokenizer):
        train(planned.plan, planned.store, corpora)
    for name, identity in planned.plan.scorers.items():
        with task(planned.store, identity):
            train_scorer(planned.plan, planned.store, corpora, name)


@component
def tokenise(item: Dict) -> None:
    """A group of shards to token files. `item`: plan, group, groups."""
    from components.blend.groups import tokenise_group
    from components.blend.shards import read_corpora
    from components.store.plan_file import load_plan

    planned = load_plan(item["plan"])
    tokenise_group(planned.plan, planned.store, read_corpora(planned.corpora), int(item["group"]), int(item["groups"]))


@component
def build_blend(plan: str) -> None:
    """Sources joined from their shards; blends resolved against them, epochs and caps checked exactly."""
    from components.blend.blend import build_blends
    from components.blend.shards import read_corpora
    from components.launch.task import task
    from components.store.plan_file import load_plan

    planned = load_plan(plan)
    with task(planned.store, next(iter(planned.plan.blends.values())).blend_identity):
        build_blends(planned.plan, planned.store, read_corpora(planned.corpora), planned.recipe_file)
