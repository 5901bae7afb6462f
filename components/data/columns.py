"""Documents of Parquet and Arrow files, a few rows at a time."""

from collections.abc import Callable, Iterator
from typing import IO, Any

from switchpoint.components.data.document import CorpusDocument, Refuse, TextOptions, all_text, tell_bad_text
from switchpoint.components.recipe.errors import BadInput

ROWS = 64
LABELS = {"parquet": "Parquet", "arrow": "Arrow"}
MAGIC = {"parquet": "PAR1", "arrow": "ARROW1"}


def read_columns(
    file: IO[bytes], kind: str, name: str, shown: str, options: TextOptions, refuse: Refuse, *, is_remote: bool
) -> Iterator[CorpusDocument]:
    """Yield the documents of the column `options.text_field`: of text, also as dictionary or bytes in UTF-8.

    `name`: the file's, in the names of its documents; `shown`: in messages.
    """
    import pyarrow as pa

    label = LABELS[kind]
    try:
        schema, batches = (_parquet if kind == "parquet" else _arrow)(file)
        columns = _columns(schema, options)
        if isinstance(columns, BadInput):
            refuse(columns.at(shown))
            return
        row = 0
        for batch in batches(sorted(set(columns.values()))):
            by_field = {field: batch.column(schema.names[number]) for field, number in columns.items()}
            yield from _documents(by_field, batch.num_rows, row, name, shown, schema.names, options, refuse)
            row += batch.num_rows
        if not row and not options.whole_row:
            refuse(BadInput("the file is empty", file=shown, allowed="documents; or remove the file"))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or is_remote):
            raise  # of reading; pyarrow's own, for pages that are not whole, have no number
        first = (str(error).splitlines() or [""])[0]
        refuse(BadInput(f"not a whole {label} file: {first}", file=shown))


def _columns(schema: Any, options: TextOptions) -> dict[str, int] | BadInput:
    """Return the number of each column that is read, by its field; the refusal if they cannot be read."""
    names = list(schema.names)
    if options.whole_row:
        wanted = names
    elif options.text_field not in names:
        return BadInput(
            "the file has another schema", field="text_field", given=options.text_field, allowed=", ".join(names)
        )
    else:
        wanted = [options.text_field, *(one for one in options.metadata_fields if one in names)]
    for name in wanted:
        if names.count(name) > 1:
            return BadInput(
                "two columns have one name", field=name, given=", ".join(names), allowed="one column of this name"
            )
    if not options.whole_row and not _is_text(schema.field(options.text_field).type):
        kind = schema.field(options.text_field).type
        return BadInput("the column holds no text", field=options.text_field, given=str(kind))
    return {name: names.index(name) for name in wanted}


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(types, f"is_{one}")(kind) for one in tests)


Batches = Callable[[list[int]], Iterator[Any]]
"""A function that yields the record batches of the columns of these numbers."""


def _parquet(file: IO[bytes]) -> tuple[Any, Batches]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file, pre_buffer=False)
    schema = table.schema_arrow
    return schema, lambda numbers: table.iter_batches(ROWS, columns=[schema.names[number] for number in numbers])


def _arrow(file: IO[bytes]) -> tuple[Any, Batches]:
    import pyarrow as pa

    if file.read(len(MAGIC["arrow"])) == MAGIC["arrow"].encode():
        file.seek(0)
        reader = pa.ipc.open_file(file)
        return reader.schema, lambda _: (reader.get_batch(number) for number in range(reader.num_record_batches))
    file.seek(0)
    stream = pa.ipc.open_stream(file)  # what the library `datasets` writes
    return stream.schema, lambda _: iter(stream)


def _documents(
    columns: dict[str, Any], num_rows: int, first: int, name: str, shown: str, known: list[str], options: TextOptions,
    refuse: Refuse,
) -> Iterator[CorpusDocument]:  # fmt: skip
    if options.whole_row:
        for number in range(num_rows):
            whole = all_text([_cell(column[number]) for column in columns.values()])
            if whole:
                yield CorpusDocument(name=f"{name}#{first + number}", text=whole)
        return
    for number in range(num_rows):

        def bad(problem: str, row: int = first + number, **more: Any) -> None:
            refuse(BadInput(f"{problem} (row {row:,})", file=shown, **more))

        try:
            text = columns[options.text_field][number].as_py()
            text = text.decode() if isinstance(text, bytes) else text
        except UnicodeDecodeError:
            bad("not UTF-8", field=options.text_field)
            continue
        if not isinstance(text, str) or not text:
            tell_bad_text(bad, text, options.text_field, known)
        elif len(text.encode("utf-8", "surrogatepass")) > options.max_document_bytes:
            bad("the document is too long", allowed=f"at most {options.max_document_bytes:,} bytes")
        else:
            values = tuple(_cell(columns[key][number]) if key in columns else None for key in options.metadata_fields)
            yield CorpusDocument(name=f"{name}#{first + number}", text=text, metadata=values)


def _cell(cell: Any) -> Any:
    """Return a value of a column; None for text that is not UTF-8."""
    try:
        value = cell.as_py()
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return None
