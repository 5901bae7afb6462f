"""What generated programs can and cannot do, by programs that try."""

import os
import platform
import struct
import sys
import time
from pathlib import Path

import pytest

from switchpoint.components.evaluate import sandbox
from switchpoint.components.evaluate.sandbox import SandboxUnavailable, run
from switchpoint.components.evaluate.seccomp import ALLOW, KILL, REFUSE, filter_program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

REFUSED = {
    "network": "import socket; socket.create_connection(('127.0.0.1', 80))",
    "socket pair": "import socket; socket.socketpair()",
    "file": "open('here.txt', 'w')",
    "file elsewhere": "open('OUTSIDE/escaped', 'w')",
    "append": "open('/dev/null', 'a')",
    "remove": "import os; os.unlink('OUTSIDE/kept')",
    "rename": "import os; os.rename('OUTSIDE/kept', 'OUTSIDE/moved')",
    "folder": "import os; os.mkdir('there')",
    "link": "import os; os.symlink('/', 'root')",
    "permissions": "import os; os.chmod('.', 0o777)",
    "fork": "import os\nwhile True: os.fork()",
    "thread": "import threading; threading.Thread(target=print).start()",
    "command": "import subprocess; subprocess.run(['true'])",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "kill": "import os; os.kill(os.getppid(), 9)",
    "limits": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))",
    "raw call": (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.syscall(ctypes.c_long(41 if __import__('platform').machine() == 'x86_64' else 198), 2, 1, 0) < 0:\n"
        "    raise PermissionError(ctypes.get_errno())"
    ),
}  # fmt: skip


SAYS_SO = ("PermissionError", "can't start new thread", "not allowed to raise maximum limit")


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    outcome = run(REFUSED[name].replace("OUTSIDE", str(tmp_path)))
    assert not outcome.passed
    assert any(words in outcome.reason for words in SAYS_SO), outcome
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("x = bytearray(1 << 30)", "MemoryError"),
        ("import os; os._exit(0)", "ended itself with code 0"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("assert sum([1, 2]) == 4, 'no'", "AssertionError: no"),
        ("def f(:", "SyntaxError"),
        ("input()", "EOFError"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import numpy", "ModuleNotFoundError"),
        ("class E(Exception):\n def __str__(self): raise ValueError\nraise E", "E"),
    ],
)
def test_what_fails(program: str, reason: str) -> None:
    outcome = run(program, memory_bytes=1 << 29)
    assert not outcome.passed
    assert reason in outcome.reason


@pytest.mark.parametrize(
    "program",
    [
        "def add(a, b):\n    return a + b\n\ndef check(f):\n    assert f(1, 2) == 3\n\ncheck(add)",
        "import re, math, typing, collections, itertools, hashlib, datetime, decimal, heapq, zoneinfo\n"
        "assert hashlib.md5(b'').hexdigest() == 'd41d8cd98f00b204e9800998ecf8427e'",
        "print('a' * 10_000_000)",
        "import os\nassert os.listdir('.') == []",
        "import os\nos.write = os.read = os._exit = None",
        "assert hash('a') and str({'a', 'b', 'c'}) == str({'a', 'b', 'c'})",
    ],
)
def test_what_passes(program: str) -> None:
    assert run(program).reason == ""


def test_an_endless_loop_ends(tmp_path: Path) -> None:
    began = time.monotonic()
    assert run("while True: pass", seconds=1).reason == "took longer than 1 s of computing"
    assert run("import time; time.sleep(60)", seconds=0.5).reason == "took longer than 2 s"
    # Others' work does not count: this takes longer than a second by the clock.
    assert run("import time; time.sleep(1.5)", seconds=1).passed
    assert run("while True:\n try:\n  while True: pass\n except BaseException: pass", seconds=1).passed is False
    assert time.monotonic() - began < 20


def test_secrets_of_the_environment_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run("import os\nassert set(os.environ) <= {'PYTHONHASHSEED', 'LC_CTYPE'}, os.environ").passed


def test_with_landlock_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("mine")
    for path in (tmp_path / "private.txt", "/etc/passwd", f"/proc/{os.getpid()}/environ"):
        outcome = run(f"open({str(path)!r}).read()")
        if outcome.passed:
            pytest.skip("this kernel has no Landlock")
        assert "PermissionError" in outcome.reason


def test_nothing_runs_unprotected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "filter_program", lambda machine: b"\0" * 8)  # which the kernel refuses
    with pytest.raises(SandboxUnavailable, match="seccomp: Invalid argument"):
        run("pass")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxUnavailable, match="not linux on riscv64"):
        run("pass")


def verdict(machine: str, audit: int, number: int, *arguments: int) -> int:
    """What the filter says of a system call, by an interpreter of BPF."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("=HBBI", filter_program(machine)))
    place, word = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x20:
            (word,) = struct.unpack_from("=I", data, operand)
        elif code == 0x15:
            place += if_true if word == operand else if_false
        elif code == 0x45:
            place += if_true if word & operand else if_false
        else:
            assert code == 0x06
            return int(operand)


@pytest.mark.parametrize(
    ("machine", "audit", "read", "openat", "socket", "clone", "execve", "fcntl"),
    [("x86_64", 0xC000003E, 0, 257, 41, 56, 59, 72), ("aarch64", 0xC00000B7, 63, 56, 198, 220, 221, 25)],
)
def test_the_filter_on_both_machines(
    machine: str, audit: int, read: int, openat: int, socket: int, clone: int, execve: int, fcntl: int
) -> None:
    def says(number: int, *arguments: int) -> int:
        return verdict(machine, audit, number, *arguments)

    assert says(read) == ALLOW
    assert says(openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        assert says(openat, 0, 0, flags) == REFUSE
    unknown = (424, 425, 434, 435, 437, 447, 461)  # pidfd_send_signal, io_uring_setup, pidfd_open, clone3, openat2, ...
    for number in (socket, clone, execve, *unknown):
        assert says(number) == REFUSE
    assert [says(fcntl, 0, command) for command in (1, 8, 1024)] == [ALLOW, REFUSE, REFUSE]  # F_SETOWN, F_SETLEASE
    assert verdict(machine, 0x40000003, read) == KILL  # another architecture's numbers
