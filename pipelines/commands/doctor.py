"""`switchpoint doctor`: checks the environment and says how to fix it."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.location import Location
from switchpoint.components.store.opening import check_writable, store_at

REINSTALL = "make setup (or: pip install -c constraints.txt -e '.[dev]')"
NEEDED_MEMORY_GIB, NEEDED_DISK_GIB = 3, 2


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    found: str
    remedy: str = ""
    is_needed: bool = True
    """False: some studies do without it, so it is a warning and no failure."""


def checks(where: Location) -> Iterator[Check]:
    yield Check("python", sys.version_info >= (3, 11), sys.version.split()[0], "install Python 3.11 or newer")
    for requirement in _requirements():
        name, _, wanted = requirement.partition("==")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, "not installed", REINSTALL)
            continue
        fits = not wanted or found.split("+")[0] == wanted
        yield Check(name, fits, found, f"{wanted} is needed: {REINSTALL}" if not fits else "")
    both = {dist.name for dist in importlib.metadata.distributions()} >= {"torchx", "torchx-nightly"}
    yield Check(
        "torchx", not both, "torchx and torchx-nightly" if both else "torchx-nightly alone",
        "both install the same package: pip uninstall torchx, then " + REINSTALL if both else "",
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Check("memory", memory >= NEEDED_MEMORY_GIB, f"{memory:.1f} GiB", f"{NEEDED_MEMORY_GIB} GiB are needed")
    root = store_at(where).root
    existing = next(path for path in [root, *root.parents] if path.exists())
    disk = shutil.disk_usage(existing).free / 2**30
    yield Check("disk", disk >= NEEDED_DISK_GIB, f"{disk:.1f} GiB free", f"{NEEDED_DISK_GIB} GiB are needed")
    try:
        check_writable(where)
        yield Check("store", True, str(where))
    except BadInput as error:
        yield Check("store", False, error.problem, "name another with --store")


def _requirements() -> list[str]:
    """Return `name` or `name==version` of everything the distribution depends on, extras left out."""
    found = []
    for line in importlib.metadata.requires("switchpoint") or []:
        if "extra ==" in line:
            continue
        name = line.split("[")[0].split("=")[0].split(">")[0].split("<")[0].strip()
        found.append(f"{name}=={line.split('==')[1].strip()}" if "==" in line else name)
    return found


def diagnose(found: Iterable[Check], console: Console) -> tuple[int, dict[str, Any]]:
    """Print every check as it comes; return exit code 1 if one fails."""
    listed = []
    for check in found:
        listed.append(check)
        mark = "[green]ok[/green]  " if check.ok else "[red]fail[/red]" if check.is_needed else "[yellow]warn[/yellow]"
        console.print(f"{mark} {check.name:<18} {check.found}", highlight=False)
        if not check.ok:
            console.print(f"     {check.remedy}", highlight=False, markup=False)
    failed = any(check.is_needed and not check.ok for check in listed)
    return int(failed), {"checks": [asdict(check) for check in listed]}
