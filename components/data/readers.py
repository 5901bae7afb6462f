"""Documents read from files: JSON lines, CSV, Parquet, Arrow and text, plain or compressed, in bounded memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson

from switchpoint.components.data.columns import MAGIC, read_columns
from switchpoint.components.data.content import BYTE_ORDER_MARK, HEAD_BYTES, other_content
from switchpoint.components.data.corpus import Corpus, open_file
from switchpoint.components.data.decompression import ERRORS, decompressed
from switchpoint.components.data.delimited import read_delimited
from switchpoint.components.data.document import CorpusDocument, Refuse, TextOptions, all_text, tell_bad_text
from switchpoint.components.data.formats import can_be_split, kind_of, unread
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.remote import is_remote

__all__ = ["CorpusDocument", "Piece", "Refuse", "TextOptions", "can_be_split", "kind_of", "read_piece"]

ARRAY = "one JSON object a line, for example by `jq -c '.[]'`"
SEVERAL_LINES = "one JSON object a line, for example by `jq -c .`"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A file, or the lines of a file that begin in the bytes [start, end): what one shard reads."""

    name: str
    digest: str
    start: int = 0
    end: int | None = None


def read_piece(corpus: Corpus, piece: Piece, options: TextOptions, refuse: Refuse) -> Iterator[CorpusDocument]:
    """Yield the documents of a piece, in order. Call `refuse` for each that cannot be read, with file and position.

    Raise OSError where reading itself fails.
    """
    kind, compression = kind_of(piece.name)
    shown = _shown(corpus, piece)
    if not kind:
        refuse(unread(piece.name, shown))
        return
    try:
        with open_file(corpus.folder, piece.name) as raw:
            file = decompressed(raw, compression)
            if not piece.start:
                other = other_content(_head(file), shown, own=MAGIC.get(kind, ""))
                if other is not None:
                    refuse(other)
                    return
            if kind in MAGIC:
                remote = is_remote(corpus.folder)
                yield from read_columns(file, kind, piece.name, shown, options, refuse, is_remote=remote)
            elif kind == "jsonl":
                yield from _jsonl(file, corpus, piece, options, refuse)
            elif kind == "text":
                yield from _text(file, corpus, piece, options, refuse)
            else:
                yield from read_delimited(file, kind, piece.name, shown, options, refuse)
    except ERRORS as error:
        # Other errors of reading are the machine's or the network's: they end the work, whatever `on_error` says.
        refuse(BadInput(f"the file cannot be read to its end: {error}", file=shown))


def _head(file: Any) -> bytes:
    """Return the first bytes, which stay to be read."""
    if not file.seekable():  # compressed
        return bytes(file.peek(HEAD_BYTES)[:HEAD_BYTES])
    head = bytes(file.read(HEAD_BYTES))
    file.seek(0)
    return head


def _shown(corpus: Corpus, piece: Piece) -> str:
    return f"{corpus.folder}/{piece.name}"


def _jsonl(
    file: IO[bytes], corpus: Corpus, piece: Piece, options: TextOptions, refuse: Refuse
) -> Iterator[CorpusDocument]:
    """Yield the documents of the lines that begin in [start, end). Blank lines are no documents."""
    position, number, found = 0, 0, False
    if piece.start:
        file.seek(piece.start - 1)
        position = piece.start - 1 + _rest_of_line(file)
    by_line = piece.end is None and not piece.start

    def bad(problem: str, **more: Any) -> None:
        place: dict[str, Any] = {"line": number} if by_line else {}
        where = "" if by_line else f" (line at byte {begin:,})"
        refuse(BadInput(problem + where, file=_shown(corpus, piece), **place, **more))

    while piece.end is None or position < piece.end:
        begin = position
        line = file.readline(options.max_document_bytes + 1)
        if not line:
            break
        number += 1
        position += len(line)
        if not found and not piece.start and (problem := _other_json(line)):
            bad(problem[0], allowed=problem[1])
            return
        if len(line) > options.max_document_bytes and not line.endswith(b"\n"):
            position += _rest_of_line(file)
            found = True
            bad(
                "the document is too long",
                given=f"{position - begin:,} bytes",
                allowed=f"{options.max_document_bytes:,}",
            )
            continue
        line = line.removeprefix(BYTE_ORDER_MARK)  # also where files that have one were joined
        if not line or line.isspace():
            continue
        found = True
        try:
            row = _json(line)
        except ValueError as error:
            bad(str(error), given=repr(line[:60])[1:])
            continue
        if not isinstance(row, dict):
            bad("not a JSON object", given=repr(line[:60])[1:], allowed=f'{{"{options.text_field}": ...}}')
            continue
        text = all_text(row) if options.whole_row else row.get(options.text_field)
        if options.whole_row and not text:
            continue
        if not isinstance(text, str) or not text:
            tell_bad_text(bad, text, options.text_field, list(row))
            continue
        name = f"{piece.name}#{number if by_line else begin}"
        yield CorpusDocument(name=name, text=text, metadata=tuple(row.get(key) for key in options.metadata_fields))
    if not found and by_line:
        refuse(BadInput("the file is empty", file=_shown(corpus, piece), allowed="documents; or remove the file"))


def _other_json(line: bytes) -> tuple[str, str] | None:
    """Return what is wrong, and what is read, where the first line belongs to one JSON value for the whole file."""
    begin = line.removeprefix(BYTE_ORDER_MARK).strip()
    if begin[:1] == b"[" and (begin == b"[" or begin[1:].lstrip()[:1] in (b"{", b"[", b"]")):
        return "the file is a JSON array, not JSON lines", ARRAY
    if begin == b"{":
        return "the file is JSON over several lines, not JSON lines", SEVERAL_LINES
    return None


def _json(line: bytes) -> Any:
    """Return the value of a line. NaN and Infinity, which Python writes and JSON does not know, are numbers.

    Raise ValueError saying what is wrong.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = f"not JSON: {error}"
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if "NaN" in text or "Infinity" in text:
        try:
            row = json.loads(text)
            json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError):
            raise ValueError(problem) from None
        return row
    raise ValueError(problem)


def _rest_of_line(file: IO[bytes]) -> int:
    """Read up to and including the next line break; return the number of bytes."""
    taken = 0
    while part := file.readline(1 << 20):
        taken += len(part)
        if part.endswith(b"\n"):
            break
    return taken


def _text(
    file: IO[bytes], corpus: Corpus, piece: Piece, options: TextOptions, refuse: Refuse
) -> Iterator[CorpusDocument]:
    raw = file.read(options.max_document_bytes + 1)
    shown = _shown(corpus, piece)
    if len(raw) > options.max_document_bytes:
        refuse(
            BadInput("the document is too long", file=shown, allowed=f"at most {options.max_document_bytes:,} bytes")
        )
        return
    try:
        text = raw.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        given = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        allowed = "text in UTF-8; convert the file, for example with iconv"
        refuse(BadInput("not UTF-8", file=shown, line=line, given=given, allowed=allowed))
        return
    if not text.strip():
        refuse(BadInput("the file is empty", file=shown, allowed="text; or remove the file"))
        return
    yield CorpusDocument(name=piece.name, text=text, metadata=())
