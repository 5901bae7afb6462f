"""Real text that every Python installation carries: documentation topics, docstrings, code, and QA pairs.

Nothing is imported or run but `pydoc_data.topics`, which is data: modules are read and parsed.
"""

import ast
import importlib
import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from switchpoint.components.data.documents import Document

# Tests and what differs between two machines with the same Python.
LEFT_OUT_FOLDERS = {
    "test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data", "ensurepip", "lib2to3",
}  # fmt: skip
LEFT_OUT_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize")
MAX_ANSWER_CHARACTERS = 240


def python_files() -> list[tuple[str, Path]]:
    """Return the standard library's modules by name, with the files they are read from, in order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if name not in LEFT_OUT_FOLDERS and not name.startswith("config-")]
        for name in files:
            if name.endswith(".py") and not name.startswith(LEFT_OUT_FILES):
                path = Path(folder, name)
                module = ".".join(path.relative_to(root).with_suffix("").parts)
                found.append((module.removesuffix(".__init__"), path))
    return sorted(found)


def topics() -> dict[str, str]:
    """Return the documentation topics of `help()`: prose about the language."""
    return dict(sorted(importlib.import_module("pydoc_data.topics").topics.items()))


def python_documents(skipped: list[str]) -> Iterator[Document]:
    """Yield all parts of all modules and topics, unit by unit. Modules that are no Python are added to `skipped`."""
    for name, text in topics().items():
        yield Document(unit=f"topic {name}", part="topics", text=text.strip())
    for module, path in python_files():
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError):
            skipped.append(module)  # a template, or in another encoding
            continue
        yield from module_documents(module, source, tree)


def module_documents(module: str, source: str, tree: ast.Module) -> Iterator[Document]:
    """Yield code, docstrings and QA pairs of one module."""
    if source.strip():
        yield Document(unit=module, part="code", text=source)
    described = list(docstrings(module, tree))
    if described:
        passages = tuple(text for _, _, text in described)
        yield Document(unit=module, part="docstrings", text="\n\n".join(passages), passages=passages)
    for kind, name, text in described:
        answer = first_sentences(text)
        if len(answer) >= 20 and "(" not in answer.split(" ")[0]:
            question = f"What does the {kind} {name} do?" if kind != "module" else f"What is the module {name} for?"
            yield Document(
                unit=module,
                part="qa",
                text=f"{prompt_of(question)} {answer}",
                question=question,
                answer=answer,
            )


def prompt_of(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def docstrings(module: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, qualified name, cleaned docstring) of the module and everything named in it."""
    kinds = {ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "function"}
    text = ast.get_docstring(tree)
    if text:
        yield "module", module, text

    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}.{child.name}"
                text = ast.get_docstring(child)
                if text:
                    yield kinds[type(child)], name, text
                yield from inside(child, name)

    yield from inside(tree, module)


def first_sentences(docstring: str) -> str:
    """Return the first paragraph in one line, cut after the last sentence within MAX_ANSWER_CHARACTERS."""
    paragraph = " ".join(re.split(r"\n\s*\n", docstring.strip())[0].split())
    if len(paragraph) <= MAX_ANSWER_CHARACTERS:
        return paragraph
    cut = paragraph[:MAX_ANSWER_CHARACTERS]
    end = cut.rfind(". ")
    return cut[: end + 1] if end > 0 else cut[: cut.rfind(" ")]
