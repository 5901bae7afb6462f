"""The store: every output at the path of its digest, a record beside it that says it is whole (laws 6 and 7).

It is a folder, or lies in an object store. Of that this machine has a copy of what was used here: the truth is there.
"""

import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.recipe.digest import Identity
from components.store import place, remote
from components.store.place import read_json as read_json
from components.store.place import write_json as write_json

RECORD = "record.json"
CHANGING = ("base", "gb", "qb", "report")
"""Outputs that grow or are written anew: their records are asked for each time, their files one by one."""
IN_PARTS = (*CHANGING, "shard")
"""Outputs that nobody needs as a whole."""
READ_IN_PLACE = (".bin", ".idx")
IMAGE_VARIABLE = "SWITCHPOINT_IMAGE_DIGEST"
"""What went into the image that this runs in (images/digest.sh)."""
KFP_RUN_VARIABLE = "KFP_RUN_ID"
"""The run of the pipeline that this is a task of."""
VERSIONED = ("torch", "transformers", "tokenizers", "numpy", "kfp", "mlflow", "torchx-nightly", "lm-eval")


@dataclass(frozen=True)
class Store:
    """Outputs under `root`. An output without its record does not exist."""

    root: Path
    """The folder itself, or this machine's copy."""
    url: str = ""
    """Of the object store; empty where the store is a folder."""
    _known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What this process has seen in the object store, by path: versions of files, and what was brought here."""

    @property
    def where(self) -> str:
        """What is handed on to other processes, on whatever machine."""
        return self.url or str(self.root.resolve())

    def place(self, identity: Identity) -> str:
        """Where an output really lies."""
        return f"{self.url or self.root}/{identity.path}"

    def path(self, identity: Identity) -> Path:
        """An output's folder on this machine. What is done is brought here, unless it is only needed in parts."""
        if self.url and identity.step not in IN_PARTS and identity.path not in self._known and self.is_done(identity):
            self.folder(identity.path)
            self._known[identity.path] = True
        return self.root / identity.path

    def folder(self, path: str, suffixes: tuple[str, ...] = ()) -> Path:
        """A folder of the store (or any, by an absolute path), its files brought here: those with `suffixes`, or all
        but tokens, which are read in place.
        """
        if self.url and not Path(path).is_absolute():
            found = remote.list_files(f"{self.url}/{path}")
            remote.download_all(
                (f"{self.url}/{path}/{name}", self.root / path / name)
                for name, version in found.items()
                if (name.endswith(suffixes) if suffixes else not name.endswith(READ_IN_PLACE))
                and not remote.is_same(self.root / path / name, version)
            )
        return self.root / path

    def file(self, path: str) -> Path:
        """A file of the store (or any, by an absolute path) that never changes, brought here."""
        here = self.root / path
        if self.url and not here.exists():
            remote.download(f"{self.url}/{path}", here)
        return here

    def in_place(self, path: str) -> str:
        """Where token files are read, by their path without suffix (or by any absolute one)."""
        if remote.is_remote(path) or not self.url or (self.root / f"{path}.bin").exists():
            return path if remote.is_remote(path) else str(self.root / path)
        return f"{self.url}/{path}"

    def exists(self, path: str) -> bool:
        """Whether the store has the file."""
        return (self.root / path).exists() or (bool(self.url) and place.exists(f"{self.url}/{path}"))

    def is_begun(self, identity: Identity) -> bool:
        """Whether work on an output began: its folder is there, on this machine or in the object store."""
        return (self.root / identity.path).is_dir() or (
            bool(self.url) and bool(remote.list_files(f"{self.url}/{identity.path}"))
        )

    def refresh(self, identity: Identity, *names: str) -> Path:
        """An output's folder on this machine, with these of its files as they are now: another machine may write."""
        folder = self.root / identity.path
        for name in names if self.url else ():
            url = f"{self.url}/{identity.path}/{name}"
            there = remote.version_of(url)
            if there is None:
                (folder / name).unlink(missing_ok=True)
            elif self._known.get(url) != there or not (folder / name).exists():
                remote.download(url, folder / name)
                self._known[url] = there
        return folder

    def save(self, *paths: Path) -> None:
        """Files, and folders with all their files, that were written below `root` beside what is done."""
        if self.url:
            files = [file for path in paths for file in ([path] if path.is_file() else _files(path))]
            remote.upload_all((file, f"{self.url}/{file.relative_to(self.root).as_posix()}") for file in files)

    def write(self, path: str, value: Any) -> str:
        """A file that is not an output, as JSON; returns where it is, for other processes."""
        if not self.url:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_json(f"{self.where}/{path}", value)
        return f"{self.where}/{path}"

    def remove(self, path: str) -> None:
        """A folder that holds no output."""
        place.remove_folder(f"{self.where}/{path}")

    def record(self, identity: Identity) -> dict[str, Any] | None:
        file = self.root / identity.path / RECORD
        known = f"{identity.path}/{RECORD}"
        if self.url and (identity.step in CHANGING or known not in self._known):
            found = place.read_json(f"{self.url}/{known}")
            if found is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, found)
                self._known[known] = True
        return read_json(file)

    def is_done(self, identity: Identity) -> bool:
        if self.url:
            return self.record(identity) is not None
        return (self.root / identity.path / RECORD).exists()

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
        if folder == self.root / identity.path:
            self.save(folder / RECORD)

    def rewrite_record(self, identity: Identity, record: dict[str, Any]) -> None:
        write_json(self.root / identity.path / RECORD, record)
        self.save(self.root / identity.path / RECORD)

    @contextmanager
    def output(self, identity: Identity) -> Iterator[Path]:
        """A folder that becomes the output's own, in one rename, if the block ends without an error.

        One process at a time (`locked`): what another one has begun is thrown away.
        """
        final = self.root / identity.path
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f".{final.name}.*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        working = final.with_name(f".{final.name}.{os.getpid()}")
        working.mkdir()
        try:
            yield working
            if self.is_done(identity):  # another process was first: the same content
                shutil.rmtree(working)
                return
            self._upload(working, identity)
            shutil.rmtree(final, ignore_errors=True)
            working.rename(final)
        except BaseException:
            shutil.rmtree(working, ignore_errors=True)
            raise

    def _upload(self, working: Path, identity: Identity) -> None:
        """The record last: what is cut off before it does not exist."""
        if self.url:
            to = f"{self.url}/{identity.path}"
            files = {file.relative_to(working).as_posix(): file for file in _files(working)}
            record = files.pop(RECORD)
            remote.upload_all((file, f"{to}/{name}") for name, file in files.items())
            remote.upload(record, f"{to}/{RECORD}")

    def why(self, identity: Identity) -> list[str]:
        """The fields that keep the nearest existing output of this step from being this one.

        Empty where the output exists or the step was never run.
        """
        if self.is_done(identity):
            return []
        wanted = identity.fields()
        nearest: list[str] | None = None
        self._bring_records(identity.step)
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

    def _bring_records(self, step: str) -> None:
        if self.url and step not in self._known:
            names = [name for name in remote.list_files(f"{self.url}/{step}") if name.endswith(f"/{RECORD}")]
            missing = [name for name in names if not (self.root / step / name).exists()]
            remote.download_all((f"{self.url}/{step}/{name}", self.root / step / name) for name in missing)
            self._known[step] = True

    def failure_file(self, identity: Identity) -> Path:
        return self.root / _failure(identity)

    def write_failure(self, identity: Identity, reason: str, log: str, bad_input: bool = False) -> None:
        file = self.failure_file(identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        written = Path(log)
        if self.url and written.is_file() and written.is_relative_to(self.root):  # this machine may be gone by then
            self.save(written)
            log = f"{self.url}/{written.relative_to(self.root).as_posix()}"
        write_json(
            file,
            {
                "step": identity.step,
                "digest": identity.digest,
                "reason": reason,
                "log": log,
                "bad_input": bad_input,
                "run": os.environ.get(KFP_RUN_VARIABLE, ""),
            },
        )
        self.save(file)

    def failure(self, identity: Identity) -> dict[str, Any] | None:
        """Why the step failed, where it was tried and has neither succeeded nor been tried again since."""
        return read_json(f"{self.url or self.root}/{_failure(identity)}")

    def forget_failure(self, identity: Identity) -> None:
        self.failure_file(identity).unlink(missing_ok=True)
        if self.url:
            remote.remove([f"{self.url}/{_failure(identity)}"])

    def log_folder(self, identity: Identity) -> Path:
        return self.root / "logs" / identity.step / identity.digest


def _failure(identity: Identity) -> str:
    return f"failures/{identity.step}/{identity.digest}.json"


def _files(folder: Path) -> list[Path]:
    """All below it; what begins with a dot is on its way, or a lock."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _shown(fields: dict[str, Any], name: str) -> str:
    return str(fields[name]) if name in fields else "absent"
