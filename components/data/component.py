"""KFP components: prepare_text, train_tokenizer, tokenise, build_blend."""

from typing import Dict, List, NamedTuple

from switchpoint.components.launch.component import component


@component
def prepare_text(plan: str) -> str:
    """Prepare what must be known of the text before it is tokenised: text made from this environment, split into train
    and held-out; what the evaluation sets hold; which documents repeat others. Return the plan's reference.
    """
    from switchpoint.components.data.contamination import read_evaluation_sets
    from switchpoint.components.data.duplicates import find_duplicates
    from switchpoint.components.data.mining import mine
    from switchpoint.components.data.shards import read_corpora
    from switchpoint.components.data.text import prepare_text as prepare
    from switchpoint.components.launch.task import task
    from switchpoint.components.recipe.source import GENERATED_ORIGINS, origin_of
    from switchpoint.components.store.plan_file import load_plan

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
    return plan


@component
def train_tokenizer(
    plan: str,
) -> NamedTuple("Tokenizer", [("Output", List[Dict]), ("plan", str)]):  # type: ignore[valid-type]
    """Train a tokenizer on the training text, or take the user's; train the models that score documents.

    `Output`: groups of shards that are left to tokenise.
    """
    from collections import namedtuple

    from switchpoint.components.data.groups import groups
    from switchpoint.components.data.quality import train_scorer
    from switchpoint.components.data.shards import read_corpora
    from switchpoint.components.data.tokenizer import train_tokenizer as train
    from switchpoint.components.launch.task import task
    from switchpoint.components.store.plan_file import load_plan

    planned = load_plan(plan)
    corpora = read_corpora(planned.corpora)
    with task(planned.store, planned.plan.tokenizer):
        train(planned.plan, planned.store, corpora)
    for name, identity in planned.plan.scorers.items():
        with task(planned.store, identity):
            train_scorer(planned.plan, planned.store, corpora, name)
    number = groups(planned.plan, planned.store, corpora)
    # A loop over nothing stays RUNNING on Kubeflow's page: nothing to tokenise is one item without groups.
    items = [{"plan": plan, "group": group, "groups": number} for group in range(max(1, number))]
    return namedtuple("Tokenizer", ["Output", "plan"])(items, plan)  # type: ignore[call-arg]


@component
def tokenise(item: Dict) -> None:
    """Write the token files of a group of shards. `item`: plan, group, groups (0 where nothing is left to do)."""
    from switchpoint.components.data.groups import tokenise_group
    from switchpoint.components.data.shards import read_corpora
    from switchpoint.components.store.plan_file import load_plan

    if not item["groups"]:
        print("nothing is left to tokenise")
        return
    planned = load_plan(item["plan"])
    tokenise_group(planned.plan, planned.store, read_corpora(planned.corpora), int(item["group"]), int(item["groups"]))


@component
def build_blend(plan: str) -> str:
    """Join sources from their shards, resolve blends against them, check epochs and caps exactly. Return the plan's
    reference. Blends that draw what a base generates are built once that base is made.
    """
    from switchpoint.components.data.blend import build_blends
    from switchpoint.components.data.shards import read_corpora
    from switchpoint.components.launch.task import task
    from switchpoint.components.store.plan_file import load_plan

    planned = load_plan(plan)
    first = min(planned.plan.blends.values(), key=lambda phase: bool(planned.plan.generated_in(phase)))
    with task(planned.store, first.blend_identity):
        build_blends(planned.plan, planned.store, read_corpora(planned.corpora), planned.recipe_file)
    return plan
