"""Documents of CSV and TSV files: a row each, with the names of the columns in the first row (RFC 4180)."""

import csv
import io
from collections.abc import Iterator
from typing import IO, Any

from switchpoint.components.data.document import CorpusDocument, Refuse, TextOptions, tell_bad_text
from switchpoint.components.recipe.errors import BadInput

DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_delimited(
    file: IO[bytes], kind: str, name: str, shown: str, options: TextOptions, refuse: Refuse
) -> Iterator[CorpusDocument]:
    """Yield the documents of the column `options.text_field`. `name`: the file's, in the names of its documents;
    `shown`: in messages.
    """
    label = kind.upper()
    csv.field_size_limit(max(csv.field_size_limit(), 2 * options.max_document_bytes))
    # Bytes that are not UTF-8 become surrogates, so that the row that has them is named, and the others are read.
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(_bounded(lines, 2 * options.max_document_bytes), delimiter=DELIMITERS[kind], strict=True)

    def bad(problem: str, **more: Any) -> None:
        refuse(BadInput(problem, file=shown, line=rows.line_num, **more))

    try:
        header = next((row for row in rows if row), None)
        if header is None:
            refuse(BadInput("the file is empty", file=shown, allowed="documents; or remove the file"))
            return
        problem = _header_problem(header, label, options)
        if problem is not None:
            refuse(problem.at(shown))
            return
        place = {field: number for number, field in enumerate(header)}
        found = 0
        for row in rows:
            if not row:
                continue
            number, found = found, found + 1
            if len(row) != len(header):
                bad("the row has another number of cells than the header", given=len(row), allowed=len(header))
                continue
            text = " ".join(filter(None, row)) if options.whole_row else row[place[options.text_field]]
            if not text:
                if not options.whole_row:
                    tell_bad_text(bad, text, options.text_field, header)
                continue
            if not _is_utf8(text):
                bad("not UTF-8", field=options.text_field)
            elif len(text.encode()) > options.max_document_bytes:
                bad("the document is too long", allowed=f"at most {options.max_document_bytes:,} bytes")
            else:
                cells = (row[place[key]] if key in place else None for key in options.metadata_fields)
                metadata = tuple(cell if cell is not None and _is_utf8(cell) else None for cell in cells)
                yield CorpusDocument(name=f"{name}#{number}", text=text, metadata=metadata)
        if not found:
            refuse(BadInput("the file is empty", file=shown, allowed="documents; or remove the file"))
    except csv.Error as error:
        # After an open quote nobody can tell what is a row: the rest of the file is no document.
        allowed = f"{label} as RFC 4180 has it: a quote inside a quoted cell is doubled"
        bad(f"not {label} from here to the file's end: {error}", allowed=allowed)
    finally:
        lines.detach()  # whoever opened the file closes it


def _header_problem(header: list[str], label: str, options: TextOptions) -> BadInput | None:
    for name in () if options.whole_row else (options.text_field, *options.metadata_fields):
        if header.count(name) > 1:
            return BadInput("two columns have one name", field=name, given=", ".join(header), allowed="one column")
    if not options.whole_row and options.text_field not in header:
        separator = "commas" if label == "CSV" else "tabs"
        return BadInput(
            f"the {label} file has no such column in its first row (columns are separated by {separator})",
            field="text_field", given=options.text_field, allowed=" or ".join(one[:60] for one in header[:20]),
        )  # fmt: skip
    return None


def _bounded(lines: io.TextIOWrapper, limit: int) -> Iterator[str]:
    while line := lines.readline(limit):
        if len(line) == limit and line[-1] not in "\r\n":
            raise csv.Error(f"a line of more than {limit:,} characters")
        yield line


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
