"""Rows as a file: NDJSON, CSV (RFC 4180) or JSON, made piece by piece at constant memory."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

Format = Literal["ndjson", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "json": "application/json"}

# What a spreadsheet takes for the beginning of a formula; the last four are the wide forms of the first.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_ENCODER = msgspec.json.Encoder()


class Writer:
    """Makes the bytes of a file from rows of one type, and knows their digest and number."""

    def __init__(self, format_: Format, row: type[Struct]) -> None:
        self._columns = [each.encode_name for each in msgspec.structs.fields(row)]
        self._piece: Callable[[Sequence[Struct]], bytes] = {
            "ndjson": self._lines,
            "csv": self._records,
            "json": self._elements,
        }[format_]
        self._start, self._end = {
            "ndjson": (b"", b""),
            "csv": (csv_line(self._columns), b""),
            "json": (b"[", b"\n]\n"),
        }[format_]
        self._digest = hashlib.sha256()
        self.rows = 0

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def start(self) -> bytes:
        return self._counted(self._start)

    def piece(self, rows: Sequence[Struct]) -> bytes:
        """The bytes of further rows."""
        piece = self._piece(rows)
        self.rows += len(rows)
        return self._counted(piece)

    def end(self) -> bytes:
        return self._counted(self._end)

    def _counted(self, piece: bytes) -> bytes:
        self._digest.update(piece)
        return piece

    def _lines(self, rows: Sequence[Struct]) -> bytes:
        return b"".join(_ENCODER.encode(row) + b"\n" for row in rows)

    def _elements(self, rows: Sequence[Struct]) -> bytes:
        return b"".join(
            (b"\n" if self.rows + place == 0 else b",\n") + _ENCODER.encode(row) for place, row in enumerate(rows)
        )

    def _records(self, rows: Sequence[Struct]) -> bytes:
        return b"".join(csv_line(list(cells(row))) for row in rows)


def cells(row: Struct) -> Iterator[str]:
    """A row as texts: what is not a text, a number or a time is JSON."""
    for value in msgspec.structs.astuple(row):
        yield cell(value)


def cell(value: Any) -> str:
    """With a quotation mark before what a spreadsheet would take for a formula."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _ENCODER.encode(value).decode()
    if not isinstance(value, str) and text.startswith('"'):
        text = text[1:-1]  # a time or an id
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def csv_line(values: Sequence[str]) -> bytes:
    """One record of RFC 4180."""
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode()
