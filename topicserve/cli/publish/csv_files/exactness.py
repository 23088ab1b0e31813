"""Which cells of a CSV file say more than their value would, as 007 says more than 7.

A number is written as JSON writes it, or with a `+`, a missing digit beside the point, and spaces
around it. Leading zeros, a base such as 0x, and a whole number that float64 would round are what
ids, postcodes and phone numbers look like: as numbers they would come out changed.
"""

from typing import Any

_WHOLE = r"^[ \t]*-?(0|[1-9][0-9]*)[ \t]*$"
_DECIMAL = (
    r"^[ \t]*[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*$"
    r"|^[ \t]*[+-]?(?i:inf(inity)?)[ \t]*$"
)
_BOOLEAN = r"^[ \t]*(?i:true|false)[ \t]*$"
# Of up to 15 digits float64 holds every whole number.
_LONG_WHOLE = r"^[ \t]*[+-]?[0-9]{16,}(\.0*)?[ \t]*$"


def inexact_rows(text: Any, values: Any, kind: Any) -> list[int]:
    """Return the rows whose cells are values of the type, and are written as more than that."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_integer(kind):
        pattern = _WHOLE
    elif pa.types.is_floating(kind):
        pattern = _DECIMAL
    elif pa.types.is_boolean(kind):
        pattern = _BOOLEAN
    else:
        return []
    is_plain = compute.match_substring_regex(text, pattern)
    rows = _rows(compute.and_(values.is_valid(), compute.invert(is_plain)))
    return rows + _rounded(text, values) if pa.types.is_floating(kind) else rows


def overflowing(text: Any, values: Any) -> list[int]:
    """Return the rows whose numbers are finite and beyond their type, which makes them infinite."""
    import pyarrow as pa
    from pyarrow import compute

    if not pa.types.is_floating(values.type):
        return []
    is_infinite = compute.is_inf(values)
    if not compute.any(is_infinite).as_py():
        return []
    return _rows(compute.and_(is_infinite, compute.match_substring_regex(text, "[0-9]")))


def _rounded(text: Any, values: Any) -> list[int]:
    from pyarrow import compute

    long = _rows(compute.match_substring_regex(text, _LONG_WHOLE))
    return [row for row in long if _is_rounded(text[row].as_py(), values[row].as_py())]


def _is_rounded(cell: str, value: float | None) -> bool:
    # Without a value it is wrong already; one without a finite value has a problem of its own.
    if value is None or value in (float("inf"), float("-inf")):
        return False
    digits = cell.strip().partition(".")[0].lstrip("+-")
    # As text: Python's limit on the digits of an integer is far below that of a cell.
    return digits.lstrip("0") != str(abs(int(value)))


def _rows(mask: Any) -> list[int]:
    from pyarrow import compute

    return list(compute.indices_nonzero(mask).to_pylist())
