"""What a section's fields mean: the docstrings below them, read when a message or the schema asks for them.

Pydantic can do this as each class is made, which costs every import a seventh of its time.
"""

import ast
import inspect
import textwrap

from pydantic import BaseModel


def field_docs(section: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of every field that has one, by the name that recipes give it; those of the classes that
    it is made from included.
    """
    found: dict[str, str] = {}
    for one in reversed(section.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel and one.__module__.startswith("switchpoint.components."):
            found |= _own_docs(one)
    return {
        section.model_fields[name].alias or name: text for name, text in found.items() if name in section.model_fields
    }


def _own_docs(section: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[field.target.id] = inspect.cleandoc(str(after.value.value))
    return found
