"""A copy of a model: the same bits in the same files."""

from pathlib import Path

import pytest
import torch

from switchpoint.components.recipe.transform import Copy
from switchpoint.components.train.model_files import digest_of_folder
from switchpoint.components.transform.copy import copy_model
from tests.components.merge.test_average import model


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_has_the_same_bits(tmp_path: Path, files: int, dtype: torch.dtype) -> None:
    model(tmp_path / "source", 0, dtype, files=files)
    model(tmp_path / "other", 1, dtype, files=files)
    copy_model(Copy(kind="copy"), tmp_path / "source", tmp_path / "copied")
    assert digest_of_folder(tmp_path / "copied") == digest_of_folder(tmp_path / "source")
    assert digest_of_folder(tmp_path / "copied") != digest_of_folder(tmp_path / "other")
    assert {path.name for path in (tmp_path / "copied").iterdir()} == {
        path.name for path in (tmp_path / "source").iterdir()
    }
