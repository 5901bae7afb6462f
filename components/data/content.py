"""What a file holds, by its first bytes: named where it is not what the file's name says."""

from switchpoint.components.recipe.errors import BadInput

HEAD_BYTES = 512
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SIGNATURES = (
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file", "fetch it with `git lfs pull`"),
    (b"\xff\xfe\x00\x00", "UTF-32", ""),
    (b"\x00\x00\xfe\xff", "UTF-32", ""),
    (b"\xff\xfe", "UTF-16", ""),
    (b"\xfe\xff", "UTF-16", ""),
    (b"\x1f\x8b", "gzip", "name it .gz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "name it .zst"),
    (b"\xfd7zXZ\x00", "xz", "name it .xz"),
    *((b"BZh%d1AY&SY" % level, "bzip2", "name it .bz2") for level in range(1, 10)),
    (b"PAR1\x15", "Parquet", "name it .parquet"),
    (b"ARROW1\x00", "Arrow", "name it .arrow"),
    (b"PK\x03\x04", "a zip archive (also .docx, .xlsx, .epub)", "unpack it, or extract its text"),
    (b"%PDF-", "PDF", "extract its text, for example with pdftotext"),
    (b"\x89PNG", "a picture", "leave it out"),
    (b"SQLite format 3", "a SQLite database", "convert it to Parquet or JSON lines"),
    (b"{\\rtf", "RTF", "extract its text, for example with pandoc"),
)
_TO_UTF8 = "UTF-8: convert it, for example with `iconv -f {} -t UTF-8`"
_IS_TEXT = ("UTF-16", "UTF-32")


def other_content(head: bytes, file: str, *, own: str = "") -> BadInput | None:
    """Return the refusal of a file that begins as another format than text in UTF-8; None for one that does not.

    `own`: the format's own first bytes, for a format that has some.
    """
    if own and head.startswith(own.encode()):
        return None
    for signature, what, do in _SIGNATURES:
        if head.startswith(signature):
            return BadInput(f"the content is {what}", file=file, allowed=do or _TO_UTF8.format(what))
    if head[257:262] == b"ustar":
        return BadInput("the content is a tar archive", file=file, allowed="unpack it")
    if not own and b"\x00" in head:
        # Text in UTF-16 without a byte order mark has a zero in each letter of ASCII.
        halves = head[::2].count(0), head[1::2].count(0)
        if max(halves) * 3 > len(head) and not min(halves):
            name = "UTF-16LE" if halves[1] else "UTF-16BE"
            return BadInput(f"the content is {name}", file=file, allowed=_TO_UTF8.format(name))
        return BadInput("the content is not text: it has zero bytes", file=file, allowed="text in UTF-8")
    return None
