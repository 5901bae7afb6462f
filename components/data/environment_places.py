"""The files in which the Python environment keeps text: the standard library and the packages installed beside it.

Files are chosen by their names and sizes alone: a digest of the chosen ones covers everything that is read.
"""

import hashlib
import os
import re
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

from switchpoint.components.data.python_text import LEFT_OUT_FOLDERS, python_files

OWN_DISTRIBUTION = "switchpoint"
CODE_BYTES = 6_000_000
PACKAGE_BYTES = 4_000_000
"""The most bytes that are taken from a mathematical package's modules: the largest ones would take long to parse."""

LIBRARIES = (
    "numpy", "torch._tensor_docs", "torch._torch_docs", "torch.amp", "torch.autograd", "torch.distributions",
    "torch.fft", "torch.func", "torch.functional", "torch.linalg", "torch.masked", "torch.nested", "torch.nn",
    "torch.optim", "torch.signal", "torch.sparse", "torch.special", "torch.utils",
)  # fmt: skip
MATHEMATICAL = (
    "_pydecimal", "colorsys", "decimal", "fractions", "numbers", "random", "statistics",
    "numpy.fft", "numpy.linalg", "numpy.polynomial", "numpy.random",
    "torch._torch_docs", "torch.distributions", "torch.fft", "torch.linalg", "torch.signal", "torch.special",
    "mpmath", "networkx", "scipy", "sklearn", "sympy",
)  # fmt: skip

# Modules that are likely to define the options of a program.
COMMAND = re.compile(
    r"(^|[/_])(cli|commands?|cmd\w*|scripts?|main|run|launch\w*|options?|arguments?|args|benchmark\w*|config)"
    r"([/_]|\.py$)"
)
METADATA = re.compile(r"[^/]+/METADATA")
LICENCE = re.compile(r"(.*/)?(licen[cs]es?|copying|copyright|notice|third.?party\w*)([._-][^/]*)?", re.IGNORECASE)
NEWS = re.compile(r"(.*/)?(news|history|change)\w*(\.(txt|md|rst))?", re.IGNORECASE)
README = re.compile(r"(.*/)?(readme[^/]*|[^/]*\.(md|rst))", re.IGNORECASE)
# Tasks with prompts that are written out in languages other than English.
EXERCISES = re.compile(
    r"lm_eval/tasks/(kmmlu/cot_hard|turkishmmlu/config_cot|mmlu_prox/(?!en/|template/)\w+)/(?!_|mmlu_prox_lite)[^/]*\.yaml"
)

NamedFiles = list[tuple[str, Path]]


def part_files(parts: Collection[str]) -> dict[str, NamedFiles]:
    """Return for each part the files that it is read from, in order: modules by their names, others by their paths."""
    library = Path(sysconfig.get_path("stdlib"))
    beside = files_below(library, LEFT_OUT_FOLDERS)
    packages = {}
    for scheme in ("purelib", "platlib"):
        packages.update(files_below(Path(sysconfig.get_path(scheme)), {"__pycache__"}))
    prose = {name: root for name, root in (packages | beside).items() if not name.endswith(".py")}
    modules = {module_name(name): (name, root) for name, root in packages.items() if is_module(name)}
    standard = python_files()
    found: dict[str, Callable[[], NamedFiles]] = {
        "descriptions": lambda: of_distributions(prose, METADATA),
        "changelogs": lambda: of_distributions(prose, METADATA) + of_packages(prose, NEWS),
        "licences": lambda: of_distributions(prose, LICENCE) + of_packages(prose, LICENCE),
        "readmes": lambda: [file for file in of_packages(prose, README) if not LICENCE.fullmatch(file[0])],
        "tutorials": lambda: [(name, root / name) for name, root in prose.items() if name.endswith(".doctest")],
        "exercises": lambda: of_packages(prose, EXERCISES),
        "topics": lambda: [("pydoc_data.topics", library / "pydoc_data" / "topics.py")],
        "library_docstrings": lambda: of_modules(modules, LIBRARIES),
        "code": lambda: capped(standard, CODE_BYTES),
        "qa_world_knowledge": lambda: [file for file in standard if not is_among(file[0], MATHEMATICAL)],
        "qa_reasoning": lambda: [*standard, *of_modules(modules, LIBRARIES), *mathematical(modules)],
        "qa_stem": lambda: [*(file for file in standard if is_among(file[0], MATHEMATICAL)), *mathematical(modules)],
        "qa_chat": lambda: [*standard, *commands(modules)],
        "qa_code": lambda: standard,
    }
    return {part: sorted(set(found[part]())) for part in parts}


def files_below(root: Path, left_out: Collection[str]) -> dict[str, Path]:
    """Return the paths of all files inside `root`, with `root` itself."""
    found = {}
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if name not in left_out]
        prefix = folder[len(str(root)) :].replace(os.sep, "/").strip("/")
        for name in files:
            found[f"{prefix}/{name}" if prefix else name] = root
    return found


def of_distributions(files: dict[str, Path], pattern: re.Pattern[str]) -> NamedFiles:
    """Return the files of the metadata of installed distributions, but not of this project's own."""
    own = f"{OWN_DISTRIBUTION}-"
    return [
        (name, root / name)
        for name, root in files.items()
        if ".dist-info/" in name and pattern.fullmatch(name) and not name.startswith(own)
    ]


def of_packages(files: dict[str, Path], pattern: re.Pattern[str]) -> NamedFiles:
    """Return the files inside packages and the standard library, but not those of their tests."""
    return [
        (name, root / name)
        for name, root in files.items()
        if ".dist-info/" not in name and pattern.fullmatch(name) and LEFT_OUT_FOLDERS.isdisjoint(name.split("/"))
    ]


def is_module(name: str) -> bool:
    return name.endswith(".py") and LEFT_OUT_FOLDERS.isdisjoint(name.split("/"))


def module_name(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def of_modules(modules: dict[str, tuple[str, Path]], prefixes: Collection[str]) -> NamedFiles:
    return [(module, root / name) for module, (name, root) in modules.items() if is_among(module, prefixes)]


def commands(modules: dict[str, tuple[str, Path]]) -> NamedFiles:
    return [(module, root / name) for module, (name, root) in modules.items() if COMMAND.search(name)]


def mathematical(modules: dict[str, tuple[str, Path]]) -> NamedFiles:
    """Return the mathematical modules of installed packages, of each package no more than PACKAGE_BYTES."""
    by_package: dict[str, NamedFiles] = defaultdict(list)
    for module, path in of_modules(modules, MATHEMATICAL):
        by_package[module.split(".")[0]].append((module, path))
    return [file for package in by_package.values() for file in capped(package, PACKAGE_BYTES)]


def capped(files: NamedFiles, num_bytes: int) -> NamedFiles:
    """Return about `num_bytes` of the files, in an order that has nothing to do with what they hold."""
    chosen, taken = [], 0
    for name, path in sorted(files, key=lambda file: hashlib.sha256(file[0].encode()).digest()):
        if taken < num_bytes:
            chosen.append((name, path))
            taken += path.stat().st_size
    return chosen


def is_among(module: str, prefixes: Collection[str]) -> bool:
    """Return whether a module is one of these modules or packages, or inside one of them."""
    return f"{module}.".startswith(tuple(f"{prefix}." for prefix in prefixes))
