"""A prepared store for training tests: text, tokenizer, tokens and blends of the small study."""

import pytest

from components.blend.blend import build_blends
from components.blend.text import prepare_text
from components.blend.tokenise import tokenise
from components.blend.tokenizer import train_tokenizer
from components.recipe.load import load_study
from components.store.plan_file import Planned
from components.store.store import open_store
from tests.conftest import tiny_study


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    import yaml

    from components.plan.run import check_study

    folder = tmp_path_factory.mktemp("prepared")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tiny_study(folder), sort_keys=False))
    plan, _ = check_study(load_study(folder / "recipe.yaml"), "recipe.yaml", folder / "store")
    store = open_store(folder / "store")
    for identity in plan.texts.values():
        prepare_text(plan, store, identity)
    train_tokenizer(plan, store)
    for name in plan.tokens:
        tokenise(plan, store, name)
    build_blends(plan, store)
    return Planned(plan=plan, store=store, recipe_file=str(folder / "recipe.yaml"))
