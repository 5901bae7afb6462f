"""The system calls that a generated program may make, as a filter for Linux's seccomp.

What is not listed fails with EPERM, also what kernels learn later: no sockets, no processes or threads, no signals, no
change of any file. Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
"""

import struct
from dataclasses import dataclass

EPERM = 1
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | EPERM
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
"""BPF: load a word, jump if equal, jump if a bit is set, return."""
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
"""Offsets into struct seccomp_data."""

# fmt: off
_BOTH = {  # name: (x86_64, aarch64)
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "readv": (19, 65),
    "writev": (20, 66), "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23),
    "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160), "getcwd": (79, 17),
    "gettimeofday": (96, 169), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44), "gettid": (186, 178), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "getdents64": (217, 61), "restart_syscall": (219, 128), "fadvise64": (221, 223),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94),
    "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72),
    "ppoll": (271, 73), "set_robust_list": (273, 99), "dup3": (292, 24), "getrandom": (318, 278),
    "statx": (332, 291), "rseq": (334, 293), "faccessat2": (439, 439),
}
_X86_64 = {
    "stat": 4, "lstat": 6, "poll": 7, "access": 21, "select": 23, "dup2": 33, "readlink": 89, "getpgrp": 111,
    "time": 201,
}
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000
"""The flags of open that write: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE; the same on both."""
_OPENAT, _OPEN = (257, 56), 2  # aarch64 has no open
_FCNTL = (72, 25)
_SAFE_FCNTL = (0, 1, 2, 3, 1030)
"""Copies of descriptors, and their flags; not leases, nor whom signals go to."""
# fmt: on

Instruction = tuple[int, int, int, int]
"""Code, how far to jump if true and if false, operand."""


@dataclass(frozen=True)
class Architecture:
    audit: int
    """AUDIT_ARCH_* of linux/audit.h."""
    column: int
    """The column of its numbers in the table."""


ARCHITECTURES = {"x86_64": Architecture(0xC000003E, 0), "aarch64": Architecture(0xC00000B7, 1)}
"""Architectures by `platform.machine()`."""


def filter_program(machine: str) -> bytes:
    """Return the BPF program. Raise KeyError for a machine whose numbers are not known."""
    architecture = ARCHITECTURES[machine]
    column, intel = architecture.column, machine == "x86_64"
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, architecture.audit), (_RETURN, 0, 0, KILL), (_LOAD, 0, 0, _NUMBER),
    ]  # fmt: skip
    program += _if_number(_OPENAT[column], _unless_writing(argument=2))
    program += _if_number(_OPEN, _unless_writing(argument=1)) if intel else []
    program += _if_number(_FCNTL[column], _if_safe_fcntl())
    numbers = [row[column] for row in _BOTH.values()] + (list(_X86_64.values()) if intel else [])
    for number in sorted(numbers):
        program += _if_number(number, [(_RETURN, 0, 0, ALLOW)])
    program.append((_RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _if_number(number: int, then: list[Instruction]) -> list[Instruction]:
    """Return instructions that run `then`, which returns, for `number`; for other numbers what follows runs."""
    return [(_EQUAL, 0, len(then), number), *then]


def _unless_writing(argument: int) -> list[Instruction]:
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)  # the lower half: both machines are little-endian
    return [load, (_ANY_BIT, 0, 1, _WRITING), (_RETURN, 0, 0, REFUSE), (_RETURN, 0, 0, ALLOW)]


def _if_safe_fcntl() -> list[Instruction]:
    checks = [part for one in _SAFE_FCNTL for part in ((_EQUAL, 0, 1, one), (_RETURN, 0, 0, ALLOW))]
    return [(_LOAD, 0, 0, _ARGUMENTS + 8), *checks, (_RETURN, 0, 0, REFUSE)]
