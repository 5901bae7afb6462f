"""A sandbox for a generated program, in which it can do little harm: a process of its own, with limits, without network
or files.

docs/evaluation.md says what it protects from, and what not.
"""

import json
import math
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from switchpoint.components.evaluate.seccomp import ARCHITECTURES, filter_program
from switchpoint.components.recipe.suites import CODE_MEMORY_BYTES, CODE_SECONDS

PROGRAM = Path(__file__).with_name("sandboxed.py")
READY = b"ready\n"
# No site-packages, nothing of this folder, no bytecode; the hash seed makes the order of sets the same every time.
INTERPRETER = (sys.executable, "-s", "-S", "-P", "-B")
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
PATIENCE = 4
"""On a busy machine a program's seconds of computing take longer by the clock; one that only waits is ended then."""


class SandboxUnavailable(RuntimeError):
    """The system cannot protect itself from generated code, so none is run."""


@dataclass(frozen=True)
class Outcome:
    passed: bool
    reason: str = ""
    """Why it did not pass."""


def run(program: str, *, seconds: float = CODE_SECONDS, memory_bytes: int = CODE_MEMORY_BYTES) -> Outcome:
    """Return whether `program` runs to its end without an error, within `seconds` of computing (rounded up).

    So a score does not depend on what else the machine does. Raise SandboxUnavailable.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES:
        raise SandboxUnavailable(
            f"generated code is only run on Linux on {' or '.join(ARCHITECTURES)}, not {sys.platform} on {machine}"
        )
    job = {
        "program": program, "filter": filter_program(machine).hex(), "memory_bytes": memory_bytes,
        "cpu_seconds": math.ceil(seconds),
    }  # fmt: skip
    proof = secrets.token_hex(16).encode()
    result, result_end = os.pipe()
    with os.fdopen(result, "rb", buffering=0) as answers:
        try:
            code = _run_process(job, proof, result_end, PATIENCE * seconds)
        finally:
            os.close(result_end)
        if code is None:
            return Outcome(False, f"took longer than {PATIENCE * seconds:g} s")
        said = answers.read(1 << 16)
    if not said.startswith(READY):
        raise SandboxUnavailable(
            f"the system does not protect itself from generated code: {said.decode(errors='replace') or f'exit {code}'}"
        )
    said = said.removeprefix(READY)
    if said == b"passed " + proof:
        return Outcome(True)
    ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended itself with code {code}"
    if code in (-signal.SIGKILL, -signal.SIGXCPU):
        ended = f"took longer than {seconds:g} s of computing"
    return Outcome(False, said.decode(errors="replace") or ended)


def _run_process(job: dict[str, object], proof: bytes, result: int, seconds: float) -> int | None:
    """Return the exit code, or None if the time was up. What the process prints goes to `result`."""
    with (
        os.fdopen(os.memfd_create("job"), "w+b") as job_file,
        tempfile.TemporaryDirectory(prefix="switchpoint-") as cwd,
    ):
        job_file.write(json.dumps(job).encode())
        job_file.seek(0)
        proof_file, proof_end = os.pipe()
        try:
            os.write(proof_end, proof)
            files = (job_file.fileno(), proof_file, result)
            process = subprocess.Popen(
                [*INTERPRETER, str(PROGRAM), *map(str, files)], cwd=cwd, env=ENVIRONMENT, pass_fds=files,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(proof_end)
            os.close(proof_file)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def check_available() -> None:
    """Raise SandboxUnavailable if generated code cannot be run in the sandbox."""
    outcome = run("pass")
    if not outcome.passed:
        raise SandboxUnavailable(f"an empty program fails in the sandbox: {outcome.reason}")
