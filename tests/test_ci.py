"""`.ci/run`: its result is that of the tests, and nothing of it stays behind, whether a Docker engine starts or not."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAMS = {
    "id": "echo $USER_ID", "dpkg": "exit 0", "docker": "exit 1", "sleep": "exit 0", "dockerd": "exit 1",
    "make": 'echo "$@"; exit $MAKE_CODE',
}  # fmt: skip


@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize("code", [0, 2])
def test_it_ends_as_the_tests_do_and_leaves_nothing(tmp_path: Path, user: str, code: int) -> None:
    checkout, programs, temporary = (tmp_path / name for name in ("checkout/.ci", "bin", "tmp"))
    for folder in (checkout, programs, temporary):
        folder.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / ".ci" / "run", checkout / "run")
    for name, line in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    given = {"PATH": f"{programs}:/usr/bin:/bin", "TMPDIR": str(temporary), "USER_ID": user, "MAKE_CODE": str(code)}
    ended = subprocess.run(["bash", checkout / "run"], env=given, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert "check" in ended.stdout
    assert not list(temporary.iterdir())
