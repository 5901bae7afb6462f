"""The formats of a source's files, by the endings of their names: which are read, and what to do with the others."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from switchpoint.components.recipe.errors import BadInput

COMPRESSIONS = ("gz", "zst", "xz", "bz2")
TEXT_ENDINGS = ("txt", "text", "md", "markdown", "rst", "tex")
CODE_ENDINGS = (
    "py", "c", "h", "cc", "cpp", "hpp", "cu", "cs", "java", "kt", "scala", "js", "jsx", "ts", "tsx", "go", "rs", "rb",
    "php", "pl", "lua", "r", "jl", "swift", "hs", "ml", "lean", "sh", "sql",
)  # fmt: skip
READ = {
    "jsonl": ("jsonl", "ndjson", "json"),
    "csv": ("csv",),
    "tsv": ("tsv",),
    "parquet": ("parquet",),
    "arrow": ("arrow", "feather"),
    "text": (*TEXT_ENDINGS, *CODE_ENDINGS),
}
"""The endings of each format that is read."""
ROWS = ("jsonl", "csv", "tsv", "parquet", "arrow")
"""The formats of many documents a file."""
IS_COMPRESSED_INSIDE = ("parquet", "arrow")

_TO_TEXT = "extract the text to .txt or JSON lines, for example with"
_UNPACK = "unpack it"
NOT_READ = {
    "pdf": f"{_TO_TEXT} pdftotext",
    **dict.fromkeys(("docx", "odt", "rtf", "epub"), f"{_TO_TEXT} pandoc"),
    **dict.fromkeys(("doc", "ppt", "pptx"), f"{_TO_TEXT} LibreOffice"),
    **dict.fromkeys(("html", "htm", "xhtml", "xml", "warc"), f"{_TO_TEXT} trafilatura"),
    **dict.fromkeys(("zip", "tar", "tgz", "tbz", "txz", "7z", "rar"), _UNPACK),
    **dict.fromkeys(("lz4", "br", "z"), "decompress it, or compress it as .gz, .zst, .xz or .bz2"),
    **dict.fromkeys(("xls", "xlsx", "ods"), "save it as CSV"),
    **dict.fromkeys(("orc", "avro", "db", "sqlite", "h5", "lance"), "convert it to Parquet or JSON lines"),
    **dict.fromkeys(("pkl", "pickle", "pt", "npy", "npz"), "write its text as JSON lines"),
    **dict.fromkeys(("bin", "idx"), "name tokens in Megatron's format as `token_file:`"),
}
"""Endings of formats that are not read, and what to do."""
_OTHER = "name it .txt if the whole file is one document, or by its format; or move it out of the folder"
_DESCRIPTIONS = (
    "readme", "license", "licence", "notice", "citation", "changelog", "dataset_info", "dataset_infos", "state",
)  # fmt: skip
MAX_NAMED = 5


def kind_of(name: str) -> tuple[str, str]:
    """Return the format (a key of READ; empty if it is not read) and the compression (empty if there is none), by the
    ending of the file's name.
    """
    path = PurePosixPath(name.lower())
    compression = path.suffix[1:] if path.suffix[1:] in COMPRESSIONS else ""
    ending = (PurePosixPath(path.stem) if compression else path).suffix[1:]
    kind = next((kind for kind, endings in READ.items() if ending in endings), "")
    return ("", compression) if compression and kind in IS_COMPRESSED_INSIDE else (kind, compression)


def can_be_split(name: str) -> bool:
    return kind_of(name) == ("jsonl", "")


def what_to_do(name: str) -> str:
    """Return what to do with a file that is not read."""
    path = PurePosixPath(name.lower())
    ending = path.suffix[1:]
    if ending in COMPRESSIONS:
        inside = PurePosixPath(path.stem).suffix[1:]
        if inside in IS_COMPRESSED_INSIDE:
            return "decompress it: it is compressed inside"
        return NOT_READ.get(inside, f"say in its name what it holds, for example .jsonl.{ending} or .txt.{ending}")
    return NOT_READ.get(ending, _OTHER)


def unread(name: str, file: str) -> BadInput:
    """Return the refusal of a file whose format is not read."""
    return BadInput("a file of this ending is not read", file=file, allowed=what_to_do(name))


def check_formats(names: Iterable[str], folder: str, field: str) -> None:
    """Raise BadInput for files of a folder that are not read, and for descriptions beside files of rows."""
    kinds = {name: kind_of(name)[0] for name in names}
    refused = [name for name, kind in kinds.items() if not kind]
    if refused:
        ways: dict[str, str] = {}
        for name in refused:
            ways.setdefault(what_to_do(name), name)
        allowed = "; ".join(f"{PurePosixPath(name).name}: {way}" for way, name in list(ways.items())[:MAX_NAMED])
        raise BadInput(
            "the folder holds files whose endings are not read", file=folder, field=field, given=_named(refused),
            allowed=f"{allowed} (docs/data.md lists what is read; `on_error: skip` leaves such files out and counts "
            "them)",
        )  # fmt: skip
    described = [name for name in kinds if PurePosixPath(name).stem.lower() in _DESCRIPTIONS]
    if described and any(kind in ROWS for name, kind in kinds.items() if name not in described):
        raise BadInput(
            "the folder holds descriptions of the data, which would be read as documents", file=folder, field=field,
            given=_named(described), allowed="move them out of the folder",
        )  # fmt: skip


def _named(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")
