"""Folders of bases, as others leave them: what is read, and what is refused before anything is tokenized."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from switchpoint.components.plan.base_folders import checked_folder
from switchpoint.components.recipe.errors import BadInput

SIZES: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
SINGLE = "model.safetensors"
UP = "model.layers.1.mlp.up_proj.weight"


def write_model(folder: Path, config: PretrainedConfig, **options: Any) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder, **options)
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write_model(tmp_path / "llama", LlamaConfig(**SIZES, tie_word_embeddings=False))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "shards", LlamaConfig(**SIZES), max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def refused(folder: Path, message: str) -> str:
    with pytest.raises(BadInput, match=message) as caught:
        checked_folder(str(folder), "")
    checked_folder.cache_clear()
    return str(caught.value)


def change_weights(folder: Path, add: dict[str, torch.Tensor] | None = None, drop: tuple[str, ...] = ()) -> None:
    weights = load_file(folder / SINGLE) | (add or {})
    save_file({name: one for name, one in weights.items() if name not in drop}, folder / SINGLE, {"format": "pt"})


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def test_a_good_folder_is_read_and_its_length_told(llama: Path, shards: Path) -> None:
    assert checked_folder(str(llama), "one").positions == 64
    assert checked_folder(str(shards), "two").positions == 64


def test_a_base_model_without_the_prefix_and_with_old_buffers_is_good(llama: Path) -> None:
    """transformers adds the prefix, and leaves out buffers that older versions stored."""
    old = {name.removeprefix("model."): one for name, one in load_file(llama / SINGLE).items()}
    old["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(old, llama / SINGLE, {"format": "pt"})
    assert checked_folder(str(llama), "old").positions == 64


def test_masks_that_gpt2_stored_are_no_weights(tmp_path: Path) -> None:
    from transformers import GPT2Config

    folder = write_model(tmp_path / "gpt2", GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=48, vocab_size=64))
    weights = {name.removeprefix("transformer."): one for name, one in load_file(folder / SINGLE).items()}
    weights["h.0.attn.bias"] = torch.ones(1, 1, 48, 48, dtype=torch.uint8)
    weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(weights, folder / SINGLE, {"format": "pt"})
    assert checked_folder(str(folder), "masks").positions == 48


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.2.mlp.up_proj.weight", (32, 16)), ("model.layers.0.self_attn.q_proj.bias", (16,)),
        ("model.layers.0.self_attn.q_norm.weight", (8,)),
    ],
    ids=["extra layer", "bias", "q norm"],
)  # fmt: skip
def test_weights_that_the_model_does_not_know_are_refused(llama: Path, name: str, shape: tuple[int, ...]) -> None:
    change_weights(llama, {name: torch.ones(shape)})
    said = refused(llama, "without weights that are stored")
    assert f"given:   unknown 1: {name}\n" in said
    assert "LlamaForCausalLM" in said


def test_missing_weights_are_counted(llama: Path) -> None:
    change_weights(llama, drop=(UP, "lm_head.weight"))
    assert f"given:   missing 2: lm_head.weight, {UP}\n" in refused(llama, "weights are missing")


def test_another_shape_is_refused(llama: Path) -> None:
    change_weights(llama, {UP: torch.ones(31, 16)})
    said = refused(llama, f"{UP}: weights have another shape")
    assert "given:   [31, 16]" in said
    assert "allowed: [32, 16]" in said


def test_an_embedding_of_another_size_than_the_vocabulary_is_refused(llama: Path) -> None:
    change_config(llama, vocab_size=500)
    assert "[500, 16]" in refused(llama, "another shape")


def test_quantized_weights_that_the_configuration_does_not_tell_of_are_refused(llama: Path) -> None:
    low = torch.ones(32, 16).to(torch.float8_e4m3fn)
    change_weights(llama, {UP: low, f"{UP}_scale": torch.ones(())})
    said = refused(llama, f"{UP}: weights of a type that cannot be trained")
    assert f"F8_E4M3, in 1: {UP}" in said


def test_a_quantized_model_is_refused(llama: Path) -> None:
    change_config(llama, quantization_config={"quant_method": "fp8"})
    assert "given:   fp8" in refused(llama, "quantization_config: the weights are quantized")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(llama: Path, value: float) -> None:
    weight = load_file(llama / SINGLE)[UP].to(torch.bfloat16)
    weight[3, 2] = weight[31, 0] = value
    change_weights(llama, {UP: weight})
    assert "2 at least" in refused(llama, f"{SINGLE}: {UP}: a weight holds values that are not finite")


def test_a_tied_head_that_differs_is_refused(llama: Path) -> None:
    change_config(llama, tie_word_embeddings=True)
    refused(llama, "tie_word_embeddings: config.json ties two weights that differ")
    change_weights(llama, {"lm_head.weight": load_file(llama / SINGLE)["model.embed_tokens.weight"]})
    assert checked_folder(str(llama), "same head").positions == 64


def test_missing_and_damaged_shards_are_named(shards: Path, tmp_path: Path) -> None:
    first, second = sorted(shards.glob("*.safetensors"))[:2]
    kept = shutil.copytree(shards, tmp_path / "kept")
    first.unlink()
    assert f"missing 1: {first.name}" in refused(shards, f"{first.name}: shards are missing")
    shutil.copy(second, first)
    refused(shards, "two files hold a weight of the same name")
    shutil.copy(kept / first.name, first)
    first.write_bytes(first.read_bytes()[:-8])
    refused(shards, f"{first.name}: the weights cannot be read")
    first.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000\n")
    assert "git lfs pull" in refused(shards, f"{first.name}: a Git LFS pointer")


def test_a_shard_of_another_model_is_refused(shards: Path) -> None:
    first = min(shards.glob("*.safetensors"))
    weights = load_file(first)
    name = min(weights)
    save_file({one: value for one, value in weights.items() if one != name} | {"x": torch.ones(1)}, first)
    assert f"1: {name}" in refused(shards, f"{first.name}: a shard lacks weights")


def test_files_that_are_not_one_model_are_refused(llama: Path, shards: Path) -> None:
    shutil.copy(llama / SINGLE, shards / SINGLE)
    refused(shards, "two sets of weights")
    (llama / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(llama, r"adapter_config.json: an adapter \(LoRA\) is no model")


def test_an_index_does_not_lead_out_of_the_folder(shards: Path) -> None:
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../other/model.safetensors"}}))
    refused(shards, "a shard lies outside the folder")
    index.write_text("[]")
    refused(shards, "not an index of weights")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "unheard_of"}, "config.json: transformers cannot read it"),
        (
            {"pad_token_id": 512},
            "config.json: pad_token_id: transformers cannot build the model: AssertionError: Padding_idx",
        ),
        ({"num_attention_heads": 0}, "config.json: transformers cannot read it"),
        ({"max_position_embeddings": None}, r"config.json: transformers cannot read it: [^\n]*max_position_embeddings"),
        ({"model_type": "bert"}, "without weights that are stored"),
        ({"model_type": "t5"}, "not a causal language model"),
    ],
)
def test_configurations_that_are_not_trained_are_refused(llama: Path, fields: dict[str, Any], message: str) -> None:
    change_config(llama, **fields)
    refused(llama, message)


def test_a_model_that_attends_to_later_tokens_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig

    sizes = SIZES | {"num_hidden_layers": 1}
    write_model(tmp_path / "decoder", BertConfig(**sizes, is_decoder=True))
    assert checked_folder(str(tmp_path / "decoder"), "decoder").positions == 64
    write_model(tmp_path / "encoder", BertConfig(**sizes))
    refused(tmp_path / "encoder", "the model attends to later tokens")
