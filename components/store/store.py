"""The store: every output at the path of its digest, with a record beside it that says it is whole (laws 6 and 7).

The store is a folder, or a prefix of an object store. Of an object store this machine keeps copies of what it used;
what counts is in the object store.
"""

import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.kind import KINDS
from switchpoint.components.store import location, remote
from switchpoint.components.store.location import read_json as read_json
from switchpoint.components.store.location import write_json as write_json

RECORD = "record.json"
MODEL_FOLDER = "model"
"""In an output that is one model: its Hugging Face folder."""
READ_IN_PLACE = (".bin", ".idx")
"""Token files, which are never fetched: samples are read from the object store."""
IMAGE_VARIABLE = "SWITCHPOINT_IMAGE_DIGEST"
"""The digest of what went into the image that this runs in (images/digest.sh)."""
KFP_RUN_VARIABLE = "KFP_RUN_ID"
"""The run of the pipeline that this is a task of."""
VERSIONED = ("torch", "transformers", "tokenizers", "numpy", "kfp", "mlflow", "torchx-nightly", "lm-eval")


@dataclass(frozen=True)
class Store:
    """The outputs under `root`. An output without its record does not exist."""

    root: Path
    """The store's folder, or this machine's copy of the object store."""
    url: str = ""
    """The address of the object store; empty where the store is a folder."""
    _known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What this process has seen in the object store, by path: versions of files, and what was fetched."""

    @property
    def location(self) -> str:
        """The address of the store for other processes, on whatever machine."""
        return self.url or str(self.root.resolve())

    def output_location(self, identity: Identity) -> str:
        """Return the location of an output: a path, or a URL of the object store."""
        return f"{self.url or self.root}/{identity.path}"

    def local_folder(self, identity: Identity) -> Path:
        """Return an output's folder on this machine, whatever is in it."""
        return self.root / identity.path

    def fetch_output(self, identity: Identity) -> Path:
        """Return an output's folder on this machine; fetch a finished output, unless it is only needed in parts."""
        if self.url and KINDS[identity.kind].is_whole and identity.path not in self._known and self.is_done(identity):
            self.fetch_folder(identity.path)
            self._known[identity.path] = True
        return self.local_folder(identity)

    def fetch_folder(self, path: str, suffixes: tuple[str, ...] = ()) -> Path:
        """Fetch the files of a folder, those with `suffixes` or all but token files; return the folder on this machine.

        `path` is relative to the store; a folder with an absolute path is returned as it is.
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

    def fetch_file(self, path: str) -> Path:
        """Fetch a file that never changes, and return its path on this machine.

        `path` is relative to the store; an absolute one is returned as it is.
        """
        here = self.root / path
        if self.url and not here.exists():
            remote.download(f"{self.url}/{path}", here)
        return here

    def token_location(self, path: str) -> str:
        """Return the location of token files: on this machine if they are here, else in the object store.

        `path` has no suffix; it is relative to the store, or absolute, or a URL.
        """
        if remote.is_remote(path) or not self.url or (self.root / f"{path}.bin").exists():
            return path if remote.is_remote(path) else str(self.root / path)
        return f"{self.url}/{path}"

    def exists(self, path: str) -> bool:
        """Return whether the store has the file."""
        return (self.root / path).exists() or (bool(self.url) and location.exists(f"{self.url}/{path}"))

    def unknown_kinds(self) -> list[str]:
        """Return the folders on this machine that hold outputs of no kind of ours: an earlier version made them."""
        return sorted({path.parent.parent.name for path in self.root.glob(f"*/*/{RECORD}")} - KINDS.keys())

    def is_begun(self, path: str) -> bool:
        """Return whether work on an output began: its folder exists, on this machine or in the object store."""
        return (self.root / path).is_dir() or (bool(self.url) and bool(remote.list_files(f"{self.url}/{path}")))

    def fetch_current(self, identity: Identity, *names: str) -> Path:
        """Fetch the named files of an output as they are now, since another machine may write them.

        Return the output's folder on this machine. A file that the object store does not have is removed there.
        """
        folder = self.local_folder(identity)
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
        """Upload files, and all files of folders, that were written below `root` outside of `output`."""
        if self.url:
            files = [file for path in paths for file in ([path] if path.is_file() else _files(path))]
            remote.upload_all((file, f"{self.url}/{file.relative_to(self.root).as_posix()}") for file in files)

    def write(self, path: str, value: Any) -> str:
        """Write a JSON file that is no output, and return its address for other processes."""
        if not self.url:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_json(f"{self.location}/{path}", value)
        return f"{self.location}/{path}"

    def remove(self, path: str) -> None:
        """Remove a folder that holds no output."""
        location.remove_folder(f"{self.location}/{path}")

    def record(self, identity: Identity) -> dict[str, Any] | None:
        """Return an output's record; None where the output does not exist."""
        file = self.root / identity.path / RECORD
        known = f"{identity.path}/{RECORD}"
        if self.url and (KINDS[identity.kind].changes or known not in self._known):
            found = location.read_json(f"{self.url}/{known}")
            if found is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, found)
                self._known[known] = True
        return read_json(file)

    def is_done(self, identity: Identity) -> bool:
        """Return whether an output exists: it has a record."""
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
        """Write the record into `folder`: the output's own, or the one that will be renamed to it."""
        record = {
            "kind": identity.kind,
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
        """Replace the record of an output that grows."""
        write_json(self.root / identity.path / RECORD, record)
        self.save(self.root / identity.path / RECORD)

    @contextmanager
    def output(self, identity: Identity) -> Iterator[Path]:
        """Give a folder that becomes the output's own, in one rename, if the block ends without an error.

        One process at a time (`locked`): what another process has left unfinished is removed.
        """
        final = self.root / identity.path
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f".{final.name}.*"):  # from a process that was killed
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
        """Upload an output, its record last: an upload that is cut short leaves no output."""
        if self.url:
            to = f"{self.url}/{identity.path}"
            files = {file.relative_to(working).as_posix(): file for file in _files(working)}
            record = files.pop(RECORD)
            remote.upload_all((file, f"{to}/{name}") for name, file in files.items())
            remote.upload(record, f"{to}/{RECORD}")

    def why(self, identity: Identity, among: Iterable[str]) -> list[str]:
        """Return the fields in which this output differs from the nearest one of its kind that exists, of the paths
        `among`.

        The list is empty where the output or none of the others exists.
        """
        if self.is_done(identity):
            return []
        wanted = identity.fields()
        nearest: list[str] | None = None
        self._fetch_records(identity.kind)
        for path in among:
            record = read_json(self.root / path / RECORD) if path.startswith(f"{identity.kind}/") else None
            if record is None:
                continue
            there = record.get("fields", {})
            changed = [
                f"{name}: {_shown(there, name)} -> {_shown(wanted, name)}"
                for name in sorted(there.keys() | wanted.keys())
                if _shown(there, name) != _shown(wanted, name)
            ]
            if nearest is None or len(changed) < len(nearest):
                nearest = changed
        return nearest or []

    def _fetch_records(self, kind: str) -> None:
        if self.url and kind not in self._known:
            names = [name for name in remote.list_files(f"{self.url}/{kind}") if name.endswith(f"/{RECORD}")]
            missing = [name for name in names if not (self.root / kind / name).exists()]
            remote.download_all((f"{self.url}/{kind}/{name}", self.root / kind / name) for name in missing)
            self._known[kind] = True

    def failure_file(self, identity: Identity) -> Path:
        """Return the file of a failure of the step on this machine."""
        return self.root / _failure(identity)

    def write_failure(self, identity: Identity, reason: str, log: str, bad_input: bool = False) -> None:
        """Record why the step failed, and upload its log where that is below `root`."""
        file = self.failure_file(identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        written = Path(log)
        if self.url and written.is_file() and written.is_relative_to(self.root):  # this machine may be gone by then
            self.save(written)
            log = f"{self.url}/{written.relative_to(self.root).as_posix()}"
        write_json(
            file,
            {
                "kind": identity.kind,
                "digest": identity.digest,
                "reason": reason,
                "log": log,
                "bad_input": bad_input,
                "run": os.environ.get(KFP_RUN_VARIABLE, ""),
            },
        )
        self.save(file)

    def failure(self, identity: Identity) -> dict[str, Any] | None:
        """Return why the step failed; None where it was not tried, has succeeded, or is being retried."""
        return read_json(f"{self.url or self.root}/{_failure(identity)}")

    def forget_failure(self, identity: Identity) -> None:
        """Remove the record of a failure, if there is one."""
        self.failure_file(identity).unlink(missing_ok=True)
        if self.url:
            remote.remove([f"{self.url}/{_failure(identity)}"])

    def log_folder(self, identity: Identity) -> Path:
        """Return the folder of the logs of the output's jobs on this machine."""
        return self.root / "logs" / identity.kind / identity.digest


def _failure(identity: Identity) -> str:
    return f"failures/{identity.kind}/{identity.digest}.json"


def _files(folder: Path) -> list[Path]:
    """Return all files below `folder`. Locks and unfinished files begin with a dot: not those."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _shown(fields: dict[str, Any], name: str) -> str:
    return str(fields[name]) if name in fields else "absent"
