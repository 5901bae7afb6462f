"""A Docker engine, and the images as `make images` builds them: at once where nothing has changed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.images import Image

from switchpoint.components.launch.component import IMAGE
from tests.images.docker_run import confined

# The host's own finished study, to compare with.
from tests.pipelines.conftest import finished as finished

ROOT = Path(__file__).parents[2]
NAMES = {"pipeline": IMAGE, "trainer": IMAGE.replace("python", "trainer")}
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BASES = (f"localhost/python:{PYTHON}", f"python:{PYTHON}-slim")
"""The first one is made here where there is no registry."""


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers at {os.environ.get('DOCKER_HOST', 'its default socket')}: {error}")
    if shutil.which("docker") is None:
        pytest.skip("the command docker, which builds images, is not installed")
    return client


@pytest.fixture(scope="session")
def base(engine: docker.DockerClient) -> str:
    for name in BASES:
        try:
            engine.images.get(name)
            return name
        except ImageNotFound:
            pass
    try:
        engine.images.pull(BASES[1])
        return BASES[1]
    except APIError as error:
        if PYTHON != "3.11" or shutil.which("debootstrap") is None or os.getuid() != 0:
            pytest.skip(f"{BASES[1]} cannot be pulled, and only root with debootstrap can make a base: {error}")
    make("base-image", f"BASE={BASES[0]}")
    return BASES[0]


def make(*arguments: str) -> None:
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3000, check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-4000:]


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient, base: str) -> dict[str, Image]:
    """By target."""
    make("images", f"BASE={base}")
    return {target: engine.images.get(name) for target, name in NAMES.items()}


@pytest.fixture(params=NAMES)
def image(images: dict[str, Image], request: pytest.FixtureRequest) -> Image:
    """Each in turn."""
    return images[request.param]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder for a container's user, who is not root: the one who tests, or who the image names."""
    folder = tmp_path / "shared"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def give_away(folder: Path) -> str:
    """Everything in it to the container's user, whose name it returns."""
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 10001, 10001)
    return "10001:10001"


@pytest.fixture
def run_in(engine: docker.DockerClient, tmp_path: Path) -> Callable[..., str]:
    """Runs Python's `code` in a confined container of an image; what it prints."""

    def run(image: Image, code: str, user: str = "") -> str:
        options = confined(tmp_path, user) | {"mounts": []}
        printed: bytes = engine.containers.run(image.id, ["python", "-c", code], remove=True, **options)
        return printed.decode().strip()

    return run
