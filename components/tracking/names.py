"""Names that MLflow takes: letters, digits, `_`, `-`, `.`, spaces, `:` and `/`, the latter as in a path (pure).

What a name may not have is written as `_0xCODE_`, its code point in hexadecimal digits: `Web (new)` is
`Web _0x28_new_0x29_`. Two names never become one, so nothing is added to another's curve.
"""

import hashlib
import posixpath
import re

MAX_CHARACTERS = 200
"""MLflow takes keys of 250; what comes before and after a name is short."""
_NOT_TAKEN = re.compile(r"[^/\w.\- :]|_(?=0x)")


def taken_name(name: str) -> str:
    """Return the name as MLflow takes it, the same if it is taken as it is; a very long one is cut, with its digest."""
    taken = _NOT_TAKEN.sub(_coded, name)
    if posixpath.normpath(taken) != taken or taken.startswith(("/", "..")):
        taken = taken.replace("/", _coded("/"))
    if len(taken) > MAX_CHARACTERS:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        taken = f"{taken[: MAX_CHARACTERS - 20]}_0x-{digest}"
    return taken


def _coded(character: re.Match[str] | str) -> str:
    return f"_0x{ord(str(character[0])):x}_"
