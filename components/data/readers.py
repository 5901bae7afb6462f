"""Documents read from files: JSON lines, Parquet and text, plain or compressed, in bounded memory."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import IO, Any

import orjson
import zstandard

from switchpoint.components.data.corpus import Corpus, document_hash, open_file
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.remote import is_remote

PARQUET_ROWS = 64

Refuse = Callable[[BadInput], None]
"""Called for every document that cannot be read: raises, or counts the document, which is then skipped."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A file, or the lines of a file that begin in the bytes [start, end): what one shard reads."""

    name: str
    digest: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    text_field: str = "text"
    metadata_fields: tuple[str, ...] = ()
    whole_row: bool = False
    """Whether the text of a row is that of all its fields."""
    max_document_bytes: int = 16 * 2**20
    """A longer document is refused, since memory is bounded."""


@dataclass(frozen=True, kw_only=True)
class CorpusDocument:
    name: str
    """The file's name, and the byte, line or row where the document begins."""
    text: str
    metadata: tuple[Any, ...] = ()

    @cached_property
    def hash(self) -> int:
        return document_hash(self.text)


def kind_of(name: str) -> tuple[str, str]:
    """Return (jsonl, parquet or text; gz, zst or nothing), by the ending of the file's name."""
    path = PurePosixPath(name.lower())
    compression = path.suffix[1:] if path.suffix in (".gz", ".zst") else ""
    suffix = PurePosixPath(path.stem).suffix if compression else path.suffix
    if suffix in (".jsonl", ".ndjson", ".json"):
        return "jsonl", compression
    return ("parquet", "") if suffix == ".parquet" else ("text", compression)


def can_be_split(name: str) -> bool:
    return kind_of(name) == ("jsonl", "")


def read_piece(corpus: Corpus, piece: Piece, options: TextOptions, refuse: Refuse) -> Iterator[CorpusDocument]:
    """Yield the documents of a piece, in order. Call `refuse` for each that cannot be read, with file and position.

    Raise OSError where reading itself fails.
    """
    kind, compression = kind_of(piece.name)
    try:
        with open_file(corpus.folder, piece.name) as raw:
            if kind == "parquet":
                yield from _parquet(raw, corpus, piece, options, refuse)
                return
            file = _decompressed(raw, compression)
            if kind == "jsonl":
                yield from _jsonl(file, corpus, piece, options, refuse)
            else:
                yield from _text(file, corpus, piece, options, refuse)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        # Other errors of reading are the machine's or the network's: they end the work, whatever `on_error` says.
        refuse(BadInput(f"the file cannot be read to its end: {error}", file=_shown(corpus, piece)))


def _shown(corpus: Corpus, piece: Piece) -> str:
    return f"{corpus.folder}/{piece.name}"


def _decompressed(raw: IO[bytes], compression: str) -> IO[bytes]:
    if compression == "gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"), buffer_size=1 << 20)
    if compression == "zst":
        return io.BufferedReader(_Zstandard(raw), buffer_size=1 << 20)
    return raw


class _Zstandard(io.RawIOBase):
    """The content of Zstandard frames, one after another.

    The library's own reader takes a truncated file for a whole one.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._ready = raw, memoryview(b"")
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            rest = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            chunk = rest or self._raw.read(1 << 14)
            if not chunk:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the compressed file ended in the middle of a frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(chunk))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


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
        if len(line) > options.max_document_bytes and not line.endswith(b"\n"):
            position += _rest_of_line(file)
            found = True
            bad(
                "the document is too long",
                given=f"{position - begin:,} bytes",
                allowed=f"{options.max_document_bytes:,}",
            )
            continue
        if line.isspace():
            continue
        found = True
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            what = "not UTF-8" if "utf-8" in str(error).lower() else f"not JSON: {error}"
            bad(what, given=repr(line[:60])[1:])
            continue
        if not isinstance(row, dict):
            bad("not a JSON object", given=repr(line[:60])[1:], allowed=f'{{"{options.text_field}": ...}}')
            continue
        text = _strings(row) if options.whole_row else row.get(options.text_field)
        if options.whole_row and not text:
            continue
        if not isinstance(text, str) or not text:
            _bad_text(bad, text, options, list(row))
            continue
        name = f"{piece.name}#{number if by_line else begin}"
        yield CorpusDocument(name=name, text=text, metadata=tuple(row.get(key) for key in options.metadata_fields))
    if not found and by_line:
        refuse(BadInput("the file is empty", file=_shown(corpus, piece), allowed="documents; or remove the file"))


def _cell(cell: Any) -> Any:
    """Return a value of a column; None for text that is not UTF-8."""
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return None


def _strings(value: Any) -> str:
    if isinstance(value, str):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return " ".join(filter(None, map(_strings, parts)))


def _bad_text(bad: Callable[..., None], text: Any, options: TextOptions, known: list[str]) -> None:
    if text is None:
        bad("the text field is missing", field=options.text_field, given=", ".join(known), allowed=options.text_field)
    elif isinstance(text, str):
        bad("the text is empty", field=options.text_field)
    else:
        bad("the text field holds no text", field=options.text_field, given=repr(text)[:60])


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
        text = raw.decode("utf-8")
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


def _parquet(
    file: IO[bytes], corpus: Corpus, piece: Piece, options: TextOptions, refuse: Refuse
) -> Iterator[CorpusDocument]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = _shown(corpus, piece)
    row = 0

    def bad(problem: str, **more: Any) -> None:
        refuse(BadInput(f"{problem} (row {row:,})", file=shown, **more))

    try:
        table = pq.ParquetFile(file, pre_buffer=False)
        schema = table.schema_arrow
        if options.whole_row:
            for batch in table.iter_batches(batch_size=PARQUET_ROWS):
                for number in range(batch.num_rows):
                    whole = _strings([_cell(batch.column(name)[number]) for name in schema.names])
                    if whole:
                        yield CorpusDocument(name=f"{piece.name}#{row + number}", text=whole)
                row += batch.num_rows
            return
        if options.text_field not in schema.names:
            refuse(
                BadInput(
                    "the Parquet file has another schema", file=shown, field="text_field", given=options.text_field,
                    allowed=", ".join(schema.names),
                )
            )  # fmt: skip
            return
        kind = schema.field(options.text_field).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            refuse(BadInput("the column holds no text", file=shown, field=options.text_field, given=str(kind)))
            return
        if not table.metadata.num_rows:
            refuse(BadInput("the file is empty", file=shown, allowed="documents; or remove the file"))
        metadata = [name for name in options.metadata_fields if name in schema.names]
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=[options.text_field, *metadata]):
            others = {name: [_cell(cell) for cell in batch.column(name)] for name in metadata}
            for number, cell in enumerate(batch.column(options.text_field)):
                try:
                    text = cell.as_py()
                except UnicodeDecodeError:
                    bad("not UTF-8", field=options.text_field)
                    text = ...
                if not isinstance(text, str) or not text:
                    if text is not ...:
                        _bad_text(bad, text, options, schema.names)
                elif len(text.encode("utf-8", "surrogatepass")) > options.max_document_bytes:
                    bad("the document is too long", allowed=f"at most {options.max_document_bytes:,} bytes")
                else:
                    values = tuple(others[key][number] if key in others else None for key in options.metadata_fields)
                    yield CorpusDocument(name=f"{piece.name}#{row}", text=text, metadata=values)
                row += 1
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or is_remote(corpus.folder)):
            raise  # of reading; pyarrow's own, for pages that are not whole, have no number
        refuse(BadInput(f"not a whole Parquet file: {str(error).splitlines()[0]}", file=shown))
