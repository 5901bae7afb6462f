"""The store: every output at the path of its digest, a record beside it that says it is whole (laws 6 and 7)."""

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.recipe.digest import Identity
from components.recipe.errors import BadInput

RECORD = "record.json"
IMAGE_VARIABLE = "SWITCHPOINT_IMAGE_DIGEST"
"""What went into the image that this runs in (images/digest.sh)."""
VERSIONED = ("torch", "transformers", "tokenizers", "numpy", "kfp", "mlflow", "torchx-nightly", "lm-eval")


@dataclass(frozen=True)
class Store:
    """Outputs under `root`. An output without its record does not exist."""

    root: Path

    def path(self, identity: Identity) -> Path:
        return self.root / identity.path

    def record(self, identity: Identity) -> dict[str, Any] | None:
        return read_json(self.path(identity) / RECORD)

    def is_done(self, identity: Identity) -> bool:
        return (self.path(identity) / RECORD).exists()

    def write_record(
        self,
        identity: Identity,
        folder: Path,
        outputs: dict[str, Any],
        environment: dict[str, Any] | None = None,
    ) -> None:
        """Writes the record into `folder` (the output's own, or the one that will be renamed to it)."""
        record = {
            "step": identity.step,
            "digest": identity.digest,
            "inputs": {name: one.path for name, one in identity.inputs.items()},
            "fields": identity.fields(),
            "outputs": outputs,
            "environment": {
                "python": platform.python_version(),
                "machine": platform.machine(),
                "versions": {name: version(name) for name in VERSIONED},
                **({"image": os.environ[IMAGE_VARIABLE]} if IMAGE_VARIABLE in os.environ else {}),
                **(environment or {}),
            },
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_json(folder / RECORD, record)

    @contextmanager
    def output(self, identity: Identity) -> Iterator[Path]:
        """A folder that becomes the output's own, in one rename, if the block ends without an error.

        One process at a time (`locked`): what another one has begun is thrown away.
        """
        final = self.path(identity)
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f".{final.name}.*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        working = final.with_name(f".{final.name}.{os.getpid()}")
        working.mkdir()
        try:
            yield working
            if (final / RECORD).exists():  # another process was first: the same content
                shutil.rmtree(working)
                return
            shutil.rmtree(final, ignore_errors=True)
            working.rename(final)
        except BaseException:
            shutil.rmtree(working, ignore_errors=True)
            raise

    def why(self, identity: Identity) -> list[str]:
        """The fields that keep the nearest existing output of this step from being this one.

        Empty where the output exists or the step was never run.
        """
        if self.is_done(identity):
            return []
        wanted = identity.fields()
        nearest: list[str] | None = None
        for path in self.root.glob(f"{identity.step}/*/{RECORD}"):
            there = (read_json(path) or {}).get("fields", {})
            changed = [
                f"{name}: {_shown(there, name)} -> {_shown(wanted, name)}"
                for name in sorted(there.keys() | wanted.keys())
                if _shown(there, name) != _shown(wanted, name)
            ]
            if nearest is None or len(changed) < len(nearest):
                nearest = changed
        return nearest or []

    def failure_file(self, identity: Identity) -> Path:
        return self.root / "failures" / identity.step / f"{identity.digest}.json"

    def write_failure(self, identity: Identity, reason: str, log: str, bad_input: bool = False) -> None:
        file = self.failure_file(identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            file,
            {
                "step": identity.step,
                "digest": identity.digest,
                "reason": reason,
                "log": log,
                "bad_input": bad_input,
            },
        )

    def failure(self, identity: Identity) -> dict[str, Any] | None:
        """Why the step failed, where it was tried and has neither succeeded nor been tried again since."""
        return read_json(self.failure_file(identity))

    def forget_failure(self, identity: Identity) -> None:
        self.failure_file(identity).unlink(missing_ok=True)

    def log_folder(self, identity: Identity) -> Path:
        return self.root / "logs" / identity.step / identity.digest


def _shown(fields: dict[str, Any], name: str) -> str:
    return str(fields[name]) if name in fields else "absent"


def open_store(root: Path) -> Store:
    """The store at `root`, made if missing. Raises BadInput where it cannot be written."""
    check_writable(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"the store cannot be made: {error.strerror}", file=str(root), field="--store") from None
    return Store(root)


def check_writable(root: Path) -> None:
    """Raises BadInput where a store at `root` could not be written; writes nothing."""
    existing = root
    while not os.path.lexists(existing):
        existing = existing.parent
    # Path.is_dir raises where a parent is closed.
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):  # noqa: PTH112
        raise BadInput("the store cannot be written", file=str(root), field="--store", allowed="a folder of yours")
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise BadInput("the store lies on a read-only file system", file=str(root), field="--store")


def read_json(path: Path) -> Any:
    """The file's content, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    """Complete or not at all: written beside, flushed to disk, renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
