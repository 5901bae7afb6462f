"""The process in which one generated program runs. Started by sandbox.py, by its path, with the standard library only.

Arguments: descriptors of the job, of the proof and of the result. The protection comes first; without it nothing runs.
"""

import ctypes
import json
import os
import random
import resource
import signal
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
"""The same numbers on every machine."""
ALL_FILE_RIGHTS = (1 << 13) - 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
READABLE = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/dev/null")
"""Folders that may be read beside the standard library."""
MAX_FILES = 64
MAX_REASON = 500


def main() -> None:
    job_file, proof_file, result_file = (int(argument) for argument in sys.argv[1:])
    with os.fdopen(job_file, "rb") as file:
        job = json.load(file)
    try:
        _protect(job)
    except (OSError, ValueError) as error:
        os.write(result_file, f"unprotected: {error}".encode())
        os._exit(1)
    # What the program replaces in these modules must not reach what is done after it.
    write, read, leave = os.write, os.read, os._exit
    random.seed(0)
    write(result_file, b"ready\n")
    try:
        exec(compile(job["program"], "program.py", "exec"), {"__name__": "program"})
    except BaseException as error:
        write(result_file, _reason(error).encode(errors="replace")[:MAX_REASON])
    else:
        # The proof is read only now: a program that ended itself before its checks has none to show.
        write(result_file, b"passed " + read(proof_file, 64))
    leave(0)


def _reason(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # the error's own class is the program's
        return type(error).__name__


def _protect(job: dict[str, Any]) -> None:
    """Protect the system from this process. Raise OSError if the kernel does not give the protection that is
    required.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 0)
    for kind, limit in (
        (resource.RLIMIT_AS, job["memory_bytes"]), (resource.RLIMIT_CPU, job["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, MAX_FILES),
    ):  # fmt: skip
        resource.setrlimit(kind, (limit, limit))
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _read_only_the_library(libc)
    _filter_system_calls(libc, bytes.fromhex(job["filter"]))


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise OSError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _filter_system_calls(libc: Any, code: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


def _read_only_the_library(libc: Any) -> None:
    """Allow reads of the library only, by Landlock (Linux 5.13): other files cannot be read, /proc included. Older
    kernels do without.
    """
    rights = ctypes.c_uint64(ALL_FILE_RIGHTS)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(rights), ctypes.c_size_t(8), 0)
    if rules < 0:
        return
    for path in [*map(Path, dict.fromkeys([*sys.path, *READABLE])), Path.cwd()]:
        if not path.exists():
            continue
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = READ_FILE | READ_DIR if path.is_dir() else READ_FILE
        rule = allowed.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
        _checked(libc.syscall(LANDLOCK_ADD_RULE, rules, 1, rule, 0), f"landlock: {path}")
        os.close(place)
    _checked(libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


if __name__ == "__main__":
    main()
