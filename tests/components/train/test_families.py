"""Models of every family: their size, their weights out of a folder and into one, and what a small step changes."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from switchpoint.components.recipe.cost import model_size
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.model import KINDS, Architecture
from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.recipe.presets import PRESETS
from switchpoint.components.recipe.schedule_config import Cosine
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train import model as model_module
from switchpoint.components.train.data import Batch, Batches
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loop import FINISHED, Trainer
from switchpoint.components.train.model import build_model, model_config
from switchpoint.components.train.optimizer import build_optimizer, set_learning_rate
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.weights import export, full_state
from tests.components.train.test_loop import job
from tests.components.train.test_loss import FAMILIES, small_model

VOCAB = 512
ALONE = Ranks(0, 1, TrainJob.model_fields["training"].default)


def architecture(preset: str, kind: str | None = None) -> dict[str, Any]:
    shape = Architecture.model_validate({"preset": preset} | ({"kind": kind} if kind else {}))
    return shape.model_dump() | {"head_width": shape.head_width, "vocab_size": VOCAB, "end_of_document": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_counts_the_parameters_that_a_model_has(kind: str) -> None:
    for tied in (True, False):
        shape = Architecture.model_validate({"preset": "1m", "kind": kind, "tied_embeddings": tied})
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(model_config(architecture("1m", kind) | {"tied_embeddings": tied}))
        parameters = {id(one): one.numel() for one in model.parameters()}
        assert sum(parameters.values()) == model_size(shape, VOCAB).total


def test_presets_hold_what_their_names_say() -> None:
    """Parameters beside the embeddings, within a third; the paper's base exactly as it is."""
    factor = {"m": 1e6, "b": 1e9}
    for name in PRESETS:
        size = model_size(Architecture.model_validate({"preset": name}), 256_000)
        assert 0.65 < size.blocks / (float(name[:-1]) * factor[name[-1]]) < 1.35, name
    paper = Architecture.model_validate({"preset": "15b"})
    assert (paper.kind, paper.num_layers, paper.hidden_size, paper.num_heads, paper.num_kv_heads, paper.ffn_size) == (
        "nemotron", 32, 6144, 48, 8, 24576,
    )  # fmt: skip
    assert not paper.tied_embeddings


def folder_job(prepared: Planned, run: Path, folder: Path) -> TrainJob:
    return job(prepared, run, start="fresh", start_model=str(folder), model_config_folder=str(folder))


@pytest.fixture(params=FAMILIES)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """A folder with a family's weights in bf16, in several files, and the model they are of."""
    folder = tmp_path / "stored"
    small_model(request.param).to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    return folder, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_a_folder_is_widened_and_exported_with_the_same_logits(
    prepared: Planned, tmp_path: Path, stored: tuple[Path, Any]
) -> None:
    folder, original = stored
    assert len(list(folder.glob("*.safetensors"))) > 1
    model = build_model(folder_job(prepared, tmp_path / "run", folder), ALONE)
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    tokens = torch.arange(3, 35)[None]
    with torch.no_grad():
        expected = original(tokens, use_cache=False).logits
        assert torch.equal(model(tokens, use_cache=False).logits, expected)
        export(model, full_state(model), tmp_path / "out", prepared.store.local_folder(prepared.plan.tokenizer))
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        assert torch.equal(loaded(tokens, use_cache=False).logits, expected)
    assert {one.dtype for one in loaded.parameters()} == {torch.float32}
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_weights_move_at_the_smallest_rate(prepared: Planned, tmp_path: Path) -> None:
    """4.5e-7, where the paper ends: nearly all change by it; kept in bf16, as they are stored, one in 200 would."""
    model = small_model("llama").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "stored")

    def changed_share(moved: Any) -> float:
        optimizer = build_optimizer(moved, Optimizer())
        before = [one.detach().clone() for one in moved.parameters()]
        for one in moved.parameters():
            one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(2)).to(one.dtype)
        set_learning_rate(optimizer, 4.5e-7)
        optimizer.step()
        changed = sum(int((old != new).sum()) for old, new in zip(before, moved.parameters(), strict=True))
        return changed / sum(one.numel() for one in before)

    assert changed_share(build_model(folder_job(prepared, tmp_path / "run", tmp_path / "stored"), ALONE)) > 0.95
    assert changed_share(model) < 0.02


def test_older_names_are_read_as_transformers_reads_them(prepared: Planned, tmp_path: Path) -> None:
    """A base model's weights without the prefix of the model around it."""
    folder, model = tmp_path / "stored", small_model("llama", tie_word_embeddings=True)
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    renamed = {name.removeprefix("model."): one for name, one in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = build_model(folder_job(prepared, tmp_path / "run", folder), ALONE)
    for wanted, found in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(wanted, found)


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "none"])
def test_weights_that_do_not_fit_are_named(prepared: Planned, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "stored"
    small_model("llama").save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    if fault == "shape":
        weights[name] = weights[name][:-1].contiguous()
    elif fault == "missing":
        del weights[name]
    elif fault == "unknown":
        weights["model.layers.2.mlp.down_proj.weight"] = weights[name].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if fault == "none":
        (folder / "model.safetensors").unlink()
    expected = {
        "missing": f"{name}: weights are missing", "unknown": r"model\.layers\.2\.[^:]*: weights are unknown",
        "shape": f"{name}: a weight has another shape",
    }  # fmt: skip
    with pytest.raises(BadInput, match=expected.get(fault, "model.folder: the folder has no weights")):
        build_model(folder_job(prepared, tmp_path / "run", folder), ALONE)


GOLDEN = Path(__file__).with_name("golden_losses.json")


def counting(self: Batches, step: int) -> Batch:
    """Samples that count upwards by their own number: the same on every machine."""
    rows, places = torch.arange(4)[:, None], torch.arange(33)[None]
    tokens = (7 * step + rows + (rows + 1) * places) % 61
    labels = torch.tensor([4.0 * 32] + [0.0] * (len(self.names) - 1), dtype=torch.float64)
    return Batch(tokens, [0] * 4, labels, has_gaps=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_each_family_stay_as_they_were(
    prepared: Planned, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps of the smallest preset from seed 0; another machine rounds otherwise, within 1e-4."""
    monkeypatch.setattr(Batches, "batch", counting)
    pieces = list(Cosine(max_learning_rate=2e-3).pieces(None, 10 * 128).pieces)
    one = job(prepared, tmp_path / "run", end_step=10, keep_steps=[10], export_steps=[], pieces=pieces)
    shape = architecture("1m", kind) | {"vocab_size": one.vocab_size}
    assert Trainer(one.model_copy(update={"architecture": shape}), 0, 1).run() == FINISHED
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = [row["loss"] for row in rows]
    golden = json.loads(GOLDEN.read_text())
    assert found == pytest.approx(golden[kind], rel=1e-4), found


def test_a_damaged_folder_is_not_tried_again(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libraries say of it is final; what the system says of a drive may pass."""
    folder = tmp_path / "stored"
    small_model("llama").save_pretrained(folder)
    one = folder_job(prepared, tmp_path / "run", folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-8])
    with pytest.raises(BadInput, match=f"{folder}: model.folder: the model cannot be read"):
        build_model(one, ALONE)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{")
    with pytest.raises(BadInput, match=f"{folder}: model.folder: the model cannot be read"):
        build_model(one, ALONE)

    def away(*_: Any) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    small_model("llama").config.save_pretrained(folder)
    monkeypatch.setattr(model_module, "load_folder", away)
    with pytest.raises(OSError, match="Stale file handle"):
        build_model(one, ALONE)
