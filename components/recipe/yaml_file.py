"""Recipes as YAML text: plain data without surprises, and the line of each field."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from switchpoint.components.recipe.errors import BadInput

MAX_BYTES = 4_000_000
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """A loader that refuses a mapping that gives a key twice (YAML would silently keep the last), and anchors, which
    can make a short text very long.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is a word", problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key `{key}` is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="aliases are not supported", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Return the file's mapping. Raise BadInput if it cannot be read, is not YAML, or is no mapping."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{what} cannot be read: {error}", file=str(path)) from None
    if len(raw) > MAX_BYTES:
        raise BadInput(f"{what} is too large", file=str(path), given=f"{len(raw):,} bytes", allowed=f"{MAX_BYTES:,}")
    try:
        data = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise BadInput(f"{what} is nested too deep", file=str(path), allowed=f"{MAX_DEPTH} levels") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise BadInput(f"not YAML: {problem}", file=str(path), line=line) from None
    if not isinstance(data, dict):
        given = "an empty file" if data is None else type(data).__name__
        raise BadInput(f"{what} is a mapping of fields", file=str(path), given=given)
    return data


class Lines:
    """The lines of the fields of a file; empty for a file that is not there."""

    def __init__(self, file: str) -> None:
        self._root: yaml.Node | None = None
        path = Path(file)
        try:
            if file and path.suffix in (".yaml", ".yml") and path.is_file():
                self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            return

    def of(self, field: Sequence[str]) -> int | None:
        """Return the line (from 1) of a field, or of the innermost section around it that is written down."""
        node, line = self._root, None
        for part in field:
            step = _child(node, part)
            if step is None:
                break
            node, line = step
        return line


def _child(node: yaml.Node | None, part: str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        item = node.value[int(part)]
        return item, item.start_mark.line + 1
    return None


def mapping(section: Any, field: str) -> dict[Any, Any]:
    """Return a mapping inside plain data that nothing has checked yet; empty where it is missing or something else."""
    found = section.get(field) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}
