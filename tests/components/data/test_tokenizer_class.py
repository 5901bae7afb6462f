"""One tokenizer from training to the exported folder, whatever class its files or the model's type name."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, train_tokenizer
from switchpoint.components.data.tokenizer_class import PLAIN_CLASS, difference, gives_other_ids, settle_class
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import absolute_folders
from switchpoint.components.recipe.model import KINDS
from tests.components.data.test_tokenise import planned
from tests.tokenizer_folders import TEXTS, write_tokenizer

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen 2 splits text, as its published tokenizer.json says."""


def qwen2() -> Tokenizer:
    """A tokenizer as Qwen 2 has it: transformers' own class makes the same of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, [END_OF_DOCUMENT], pre_tokenizers.ByteLevel.alphabet())


def gemma() -> Tokenizer:
    """A tokenizer as Gemma has it: blanks are letters, what is unknown is bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    named = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return trained(tokenizer, [*named, *(f"<0x{byte:02X}>" for byte in range(256))], [], control=named)


def trained(tokenizer: Tokenizer, first: list[str], alphabet: list[str], control: list[str] | None = None) -> Tokenizer:
    """Train it on texts; of the entries that come `first`, those in `control` are control tokens (None: all)."""
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=first, initial_alphabet=alphabet, show_progress=False, max_token_length=8
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [one for one in data["added_tokens"] if control is None or one["content"] in control]
    return Tokenizer.from_str(json.dumps(data))


CLASSES = (
    "", PLAIN_CLASS, "TokenizersBackend", "LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer", "CohereTokenizer",
    "GPTNeoXTokenizerFast", "Qwen2Tokenizer", "GPT2Tokenizer",
)  # fmt: skip
MODEL_TYPES = ("", *KINDS, "cohere", "gpt_neox", "olmo2", "phi3", "qwen2_moe", "gemma2", "mixtral")


def model_beside(folder: Path, kind: str) -> None:
    if kind:
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))


@pytest.mark.parametrize("before", [[], ["<s>"]], ids=["plain", "bos"])
@pytest.mark.parametrize("name", CLASSES)
def test_the_settled_class_gives_the_ids_of_training_beside_every_model(
    tmp_path: Path, name: str, before: list[str]
) -> None:
    """Asked of AutoTokenizer itself, on other texts than those it is compared with; qwen2 is told to differ."""
    config = {"tokenizer_class": name} if name else {}
    tokenizer = write_tokenizer(tmp_path, before=before, **config)
    left = settle_class(tmp_path)
    assert list(left) == ["qwen2"], left
    for kind in MODEL_TYPES:
        model_beside(tmp_path, kind)
        auto = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
        same = sum(list(auto.encode(text)) == tokenizer.encode(text).ids for text in TEXTS)
        assert same == (0 if kind == "qwen2" else len(TEXTS)), kind


@pytest.mark.parametrize(
    ("make", "name", "config"),
    [
        (qwen2, "Qwen2Tokenizer", {}),
        (gemma, "GemmaTokenizer", {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}),
    ],
)
def test_a_class_that_reads_its_own_tokenizer_stays(
    tmp_path: Path, make: Any, name: str, config: dict[str, Any]
) -> None:
    write_tokenizer(tmp_path, tokenizer=make(), tokenizer_class=name, **config)
    before = (tmp_path / "tokenizer_config.json").read_text()
    left = settle_class(tmp_path)
    assert left.keys() <= {"qwen2"}
    assert ("qwen2" in left) == (make is not qwen2)
    assert (tmp_path / "tokenizer_config.json").read_text() == before


def test_code_that_a_tokenizer_names_is_not_run_nor_exported(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    assert "cannot read it" in difference(tmp_path)
    assert list(settle_class(tmp_path)) == ["qwen2"]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {
        "eos_token": END_OF_DOCUMENT, "tokenizer_class": PLAIN_CLASS,
    }  # fmt: skip


def test_a_tokenizer_that_ends_a_text_is_not_another_one(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, before=["<s>"], after=[END_OF_DOCUMENT], tokenizer_class=PLAIN_CLASS)
    assert difference(tmp_path) == ""


def test_another_beginning_is_told(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, before=["<s>"], tokenizer_class="GPTNeoXTokenizerFast")
    assert difference(tmp_path) == (
        "AutoTokenizer (GPTNeoXTokenizer) begins a text with nothing, tokenizer.json with <s>"
    )


def test_tokenizers_with_one_vocabulary_may_give_other_ids(tmp_path: Path) -> None:
    """What a base's own tokenizer is compared by: splitting, normalising and beginning count, too."""
    first = write_tokenizer(tmp_path / "first")
    assert not gives_other_ids(*(DocumentTokenizer(tmp_path / "first") for _ in range(2)))
    changes: dict[str, Any] = {
        "pre_tokenizer": pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
        "normalizer": normalizers.NFC(),
    }
    for part, value in changes.items():
        other = Tokenizer.from_str(first.to_str())
        setattr(other, part, value)
        write_tokenizer(tmp_path / part, tokenizer=other)
        assert other.get_vocab() == first.get_vocab()
        assert gives_other_ids(DocumentTokenizer(tmp_path / "first"), DocumentTokenizer(tmp_path / part)), part


@pytest.mark.parametrize("trained_here", [True, False])
def test_a_model_that_would_be_loaded_with_another_tokenizer_is_refused_before_training(
    study: dict[str, Any], tmp_path: Path, trained_here: bool
) -> None:
    absolute_folders(study, tmp_path)
    if not trained_here:
        write_tokenizer(tmp_path / "own", tokenizer_class="CohereTokenizer")
        study["tokenizer"] = {"folder": str(tmp_path / "own")}
    begun = planned(study, tmp_path / "store")
    train_tokenizer(begun.plan, begun.store, begun.corpora)  # a llama
    exported = json.loads((begun.store.local_folder(begun.plan.tokenizer) / "tokenizer_config.json").read_text())
    assert exported["tokenizer_class"] == PLAIN_CLASS
    study["model"]["architecture"]["kind"] = "qwen2"
    begun = planned(study, tmp_path / "store")
    with pytest.raises(BadInput, match=r"model\.architecture\.kind: .*another tokenizer.*Qwen2Tokenizer") as refused:
        train_tokenizer(begun.plan, begun.store, begun.corpora)
    assert "as it is beside llama, mistral, qwen3, gemma, nemotron" in str(refused.value)


@pytest.mark.parametrize(("kind", "refused"), [("qwen2", True), ("olmo2", False), ("cohere", False)])
def test_the_type_of_a_base_from_a_folder_counts(
    study: dict[str, Any], tmp_path: Path, kind: str, refused: bool
) -> None:
    config = AutoConfig.for_model(
        kind, vocab_size=600, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=None, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "own")
    write_tokenizer(tmp_path / "own")
    absolute_folders(study, tmp_path)
    study |= {
        "tokenizer": {"folder": str(tmp_path / "own")}, "model": {"folder": str(tmp_path / "own")}, "start": "fresh",
        "schedule": {"max_learning_rate": 1e-3},
    }  # fmt: skip
    begun = planned(study, tmp_path / "store")
    if not refused:
        train_tokenizer(begun.plan, begun.store, begun.corpora)
        return
    with pytest.raises(BadInput, match=r"model\.folder: .*another tokenizer"):
        train_tokenizer(begun.plan, begun.store, begun.corpora)


def test_added_tokens_are_compared(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, tokenizer_class=PLAIN_CLASS)
    other = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    other.add_tokens([AddedToken("returns", normalized=False)])
    write_tokenizer(tmp_path / "other", tokenizer=other)
    assert gives_other_ids(DocumentTokenizer(tmp_path), DocumentTokenizer(tmp_path / "other"))
