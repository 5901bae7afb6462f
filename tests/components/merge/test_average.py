"""The average of models' weights: exact, streamed, and refused where models are not alike."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from switchpoint.components.merge.average import NotMergeable, average_models
from switchpoint.components.train.model_files import digest_of_folder
from switchpoint.components.train.weights import weights_digest

HALF = Fraction(1, 2)


def model(folder: Path, seed: int, dtype: torch.dtype = torch.float32, *, files: int = 1) -> dict[str, torch.Tensor]:
    """Write a model of random weights in so many files; return its weights."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    state = {f"layer.{number}": torch.randn(3, 5, generator=generator).to(dtype) for number in range(4)}
    (folder / "config.json").write_text('{"model_type": "llama"}')
    names = list(state)
    if files == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        parts = {name: f"model-{number % files}.safetensors" for number, name in enumerate(names)}
        for part in set(parts.values()):
            save_file({name: state[name] for name in names if parts[name] == part}, folder / part)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    return state


def test_each_weight_is_the_weighted_average_rounded_once(tmp_path: Path) -> None:
    states = [model(tmp_path / str(seed), seed, torch.bfloat16) for seed in range(3)]
    weights = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    average_models([tmp_path / str(seed) for seed in range(3)], weights, tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in merged.items():
        expected = sum(float(weight) * state[name].double() for weight, state in zip(weights, states, strict=True))
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, expected.to(torch.bfloat16))  # type: ignore[union-attr]
    assert (tmp_path / "out" / "config.json").read_text() == '{"model_type": "llama"}'
    assert digest_of_folder(tmp_path / "out") == weights_digest(merged)


@given(seeds=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_the_average_of_one_model_with_itself_is_that_model(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[int]
) -> None:
    root = tmp_path_factory.mktemp("models")
    state = model(root / "one", seeds[0])
    number = len(seeds)
    average_models([root / "one"] * (1 << (number - 1)), [Fraction(1, 1 << (number - 1))] * (1 << (number - 1)),
                   root / "out")  # fmt: skip
    merged = load_file(root / "out" / "model.safetensors")
    assert all(torch.equal(merged[name], tensor) for name, tensor in state.items())


def test_files_are_cut_as_in_the_first_model_wherever_the_others_have_theirs(tmp_path: Path) -> None:
    model(tmp_path / "cut", 0, files=2)
    model(tmp_path / "whole", 1)
    average_models([tmp_path / "cut", tmp_path / "whole"], [HALF, HALF], tmp_path / "out")
    average_models([tmp_path / "whole", tmp_path / "cut"], [HALF, HALF], tmp_path / "other")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == [
        "model-0.safetensors", "model-1.safetensors",
    ]  # fmt: skip
    assert digest_of_folder(tmp_path / "out") == digest_of_folder(tmp_path / "other")


def test_models_that_are_not_alike_are_refused(tmp_path: Path) -> None:
    model(tmp_path / "one", 0)
    model(tmp_path / "narrow", 0, torch.bfloat16)
    state = model(tmp_path / "more", 0)
    save_file(state | {"extra": torch.zeros(1)}, tmp_path / "more" / "model.safetensors")
    with pytest.raises(NotMergeable, match=r"layer\.\d: \[3, 5\] torch.bfloat16"):
        average_models([tmp_path / "one", tmp_path / "narrow"], [HALF, HALF], tmp_path / "out")
    with pytest.raises(NotMergeable, match="extra"):
        average_models([tmp_path / "one", tmp_path / "more"], [HALF, HALF], tmp_path / "out2")
