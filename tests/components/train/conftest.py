"""A prepared store for training tests: tokenizer, tokens and blends of the small study."""

import pytest

from switchpoint.components.data.blend import build_blends
from switchpoint.components.data.groups import tokenise_group
from switchpoint.components.data.tokenizer import train_tokenizer
from switchpoint.components.recipe.load import load_study
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.plan_file import Planned
from tests.conftest import tiny_study


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    import yaml

    from switchpoint.components.plan.run import check_study

    folder = tmp_path_factory.mktemp("prepared")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tiny_study(folder), sort_keys=False))
    plan, inputs = check_study(load_study(folder / "recipe.yaml"), "recipe.yaml", folder / "store")
    store = open_store(folder / "store")
    train_tokenizer(plan, store, inputs.corpora)
    tokenise_group(plan, store, inputs.corpora, 0, 1)
    build_blends(plan, store, inputs.corpora)
    return Planned(plan=plan, store=store, recipe_file=str(folder / "recipe.yaml"), options="", corpora={})
