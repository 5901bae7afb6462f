"""The command: bad input, help, JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.data.corpus import document_hash
from tests.conftest import switchpoint
from tests.pipelines.conftest import Finished

Study = dict[str, Any]


def _not_utf8(study: Study, folder: Path) -> None:
    (folder / "prose" / "latin.txt").write_bytes(b"first line\ncaf\xe9")


def _unreadable(study: Study, folder: Path) -> None:
    (folder / "prose" / "gone.txt").symlink_to(folder / "nowhere")


def _empty_file(study: Study, folder: Path) -> None:
    (folder / "prose" / "empty.txt").write_text("")


def _empty_folder(study: Study, folder: Path) -> None:
    (folder / "none").mkdir()
    study["sources"]["prose"]["folder"] = "none"


def _same_text_twice(study: Study, folder: Path) -> None:
    """What is held out of the one, and trained on in the other: there a filler takes the place."""
    texts = [path.read_text() for path in (folder / "prose").iterdir()]
    mean = sum(map(len, texts)) / len(texts)
    heldout = min((text for text in texts if len(text) < mean), key=document_hash)  # a longer one may stay in training
    fillers = (f"{number} " + "filler " * 10 for number in range(10_000))
    (folder / "answers" / "filler.txt").write_text(
        next(text for text in fillers if document_hash(text) < document_hash(heldout))
    )
    (folder / "answers" / "copy.txt").write_text(heldout)


def _broken_tokenizer(study: Study, folder: Path) -> None:
    (folder / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "tokenizer" / name).write_text("{}")
    study["tokenizer"] = {"folder": "tokenizer"}


def _bad_model(study: Study, folder: Path) -> None:
    study |= {"model": {"folder": "no-model"}, "tokenizer": {"folder": "no-tokenizer"}}
    study |= {"schedule": {"max_learning_rate": 1e-3}, "start": "fresh"}


BAD: dict[str, tuple[Callable[[Study, Path], Any], tuple[str, ...]]] = {
    "unknown key": (lambda s, f: s.update(horizn_tokens=1), ("recipe.yaml", "horizn_tokens", "did you mean")),
    "weights": (lambda s, f: s["blends"]["mixed"].update(prose=0.6), ("recipe.yaml", "blends.mixed", "sum to 1")),
    "missing source": (
        lambda s, f: s["sources"]["prose"].update(folder="nowhere"), ("nowhere", "sources.prose.folder", "no such"),
    ),
    "empty source": (_empty_folder, ("none", "sources.prose.folder", "holds no file")),
    "empty file": (_empty_file, ("empty.txt", "sources.prose.folder", "is empty")),
    "unreadable": (_unreadable, ("gone.txt", "sources.prose.folder", "cannot be read")),
    "not UTF-8": (_not_utf8, ("latin.txt:2", "sources.prose.folder", "not UTF-8", "offset 14")),
    "too small": (
        lambda s, f: s.update(horizon_tokens=50_000_000), ("sources.answers.max_epochs", "too small", "4 epochs"),
    ),
    "tokenizer folder": (
        lambda s, f: s.update(tokenizer={"folder": "no-tokenizer"}), ("no-tokenizer", "tokenizer.folder", "no such"),
    ),
    "model folder": (_bad_model, ("no-tokenizer", "tokenizer.folder", "no such folder")),
    "one folder twice": (
        lambda s, f: s["sources"]["answers"].update(folder="prose"),
        ("sources.answers", "two sources on the same text", "sources.prose"),
    ),
    "one text in two sources": (_same_text_twice, ("copy.txt", "sources.answers.folder", "stands in two sources")),
    "broken tokenizer": (_broken_tokenizer, ("tokenizer.json", "tokenizer: not a tokenizer")),
    "switch outside": (
        lambda s, f: s.update(switch={"learning_rate_ratio": 0.001}),
        ("recipe.yaml", "switch.learning_rate_ratio", "outside the run"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message_and_exit_code_2(
    study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path], name: str, command: str
) -> None:
    spoil, said = BAD[name]
    spoil(study, tmp_path)
    ended = switchpoint(command, write_recipe(study), "--store", tmp_path / "store")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert all(part in ended.stderr for part in said), ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written(study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path]) -> None:
    (tmp_path / "file").write_text("")
    ended = switchpoint("run", write_recipe(study), "--store", tmp_path / "file" / "store")
    assert ended.returncode == 2
    assert "--store: the store cannot be written" in ended.stderr


def test_a_model_folder_without_weights(
    study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path], finished: Finished
) -> None:
    plan = finished.plan
    study |= {
        "model": {"folder": "model"}, "tokenizer": {"folder": str(finished.store.local_folder(plan.tokenizer))},
        "schedule": {"max_learning_rate": 1e-3}, "start": "fresh",
    }  # fmt: skip
    recipe = write_recipe(study)
    for content, said in (
        (None, "no such folder"),
        ({}, "the folder has no weights"),
        ({"vocab_size": 100}, "ids beyond the model's vocabulary"),
        ({"vocab_size": 512, "max_position_embeddings": 8}, "longer than the model's positions"),
    ):
        if content is not None:
            (tmp_path / "model").mkdir(exist_ok=True)
            (tmp_path / "model" / "config.json").write_text(json.dumps(content))
        if content:
            (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
        ended = switchpoint("plan", recipe, "--store", tmp_path / "store")
        assert ended.returncode == 2
        assert said in ended.stderr


def test_debug_shows_where(study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path]) -> None:
    study["gb"] = "nothing"
    ended = switchpoint("--debug", "plan", write_recipe(study))
    assert "Traceback" in ended.stderr
    assert "no such blend" in ended.stderr


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.argv = ['switchpoint', '--help']\n"
        "from switchpoint.pipelines.commands.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'kfp', 'mlflow', 'transformers', 'numpy', 'pydantic', 'torchx', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for command in ("run", "plan", "compile", "status", "report", "doctor"):
        assert f" {command} " in ended.stdout


def test_plan_status_and_report_of_a_finished_study(finished: Finished) -> None:
    plan = json.loads(switchpoint("plan", finished.recipe, "--store", finished.root, "--json").stdout)
    assert plan["missing"] == []
    assert plan["tokens_shared"] < plan["tokens_alone"] == 15_360
    switched = plan["arms"][2]
    assert switched["switch_tokens"] == switched["switch_step"] * 128
    assert [phase["name"] for phase in switched["phases"]] == ["gb", "qb"]
    for phase in switched["phases"]:
        assert sum(source["tokens"] for source in phase["sources"].values()) == phase["tokens"]
        assert all(source["epochs"] > 0 for source in phase["sources"].values())
    status = json.loads(switchpoint("status", finished.recipe, "--store", finished.root, "--json").stdout)
    assert {entry["state"] for entry in status["outputs"]} == {"done"}
    shown = switchpoint("report", finished.recipe, "--store", finished.root)
    assert shown.returncode == 0
    assert "prose → mixed" in shown.stdout
    assert "mlflow ui" in shown.stdout


def test_a_plan_before_anything_ran_writes_nothing(
    study: Study, tmp_path: Path, write_recipe: Callable[[Study], Path]
) -> None:
    ended = switchpoint("plan", write_recipe(study), "--store", tmp_path / "store", "--json")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)["missing"]) == 14
    assert not (tmp_path / "store").exists()


def test_doctor_finds_a_good_environment(tmp_path: Path) -> None:
    ended = switchpoint("doctor", "--store", tmp_path / "store", "--json")
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert ended.returncode == 0, checks
    assert checks["torch"]["found"].startswith("2.13.0")
    assert checks["torchx"]["ok"]
