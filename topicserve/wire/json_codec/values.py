"""Output columns as JSON: each row's value as its own piece of bytes."""

import base64
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

# TF Serving's REST rule: outputs named so are base64 objects, every other string is text.
BYTES_SUFFIX = "_bytes"
# numpy's longdouble has more, which no JSON reader takes.
_WIDEST_BYTES = 8


def row_pieces(
    outputs: Mapping[str, NDArray[Any]], whole: Collection[str] = (), rows: int = 0
) -> list[bytes]:
    """Return each row as JSON: the value of a single output, an object of several.

    Outputs that are `whole` have no rows: each of the `rows` rows has them as they are.
    """
    columns = [
        [whole_piece(name, column)] * rows if name in whole else column_pieces(name, column)
        for name, column in outputs.items()
    ]
    if len(columns) == 1:
        return columns[0]
    names = [orjson.dumps(name) for name in outputs]
    return [
        b"{" + b",".join(b"%b:%b" % pair for pair in zip(names, row, strict=True)) + b"}"
        for row in zip(*columns, strict=True)
    ]


def whole_piece(name: str, array: NDArray[Any]) -> bytes:
    """Return an array of any dimensions, or of none, as JSON."""
    return column_pieces(name, array[None])[0]


def is_lossless(dtype: np.dtype[Any]) -> bool:
    """Return whether JSON holds every value of this dtype, not-a-number and infinities aside.

    TensorFlow's small floats (bfloat16, ...) become float32; complex numbers become nothing.
    """
    if dtype.kind in "bifu":
        return dtype.itemsize <= _WIDEST_BYTES
    return dtype.kind in "OSU" or np.can_cast(dtype, np.float32)


def column_pieces(name: str, column: NDArray[Any]) -> list[bytes]:
    """Return each row of one column (at least one dimension) as JSON.

    Not-a-number and infinities, which JSON lacks, are null.
    """
    if column.dtype.kind in "OSU":
        return [orjson.dumps(_text_tree(row, name)) for row in column]
    if column.dtype.kind == "c":
        raise ValueError(f"output {name!r} has complex numbers, which JSON cannot carry")
    if column.dtype.isbuiltin == 2 or column.dtype.kind not in "bifu":
        # TensorFlow's bfloat16 and the like are no numpy dtypes of their own.
        column = column.astype(np.float32)
    return _numeric_pieces(column)


def _numeric_pieces(column: NDArray[Any]) -> list[bytes]:
    """Write the whole column in one call and cut it where one row ends and the next begins."""
    inner = column.ndim - 1
    if column.size == 0:
        return [orjson.dumps(row.tolist()) for row in column]
    if not column.dtype.isnative:
        column = column.astype(column.dtype.newbyteorder("="))
    text = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)
    opening, closing = b"[" * inner, b"]" * inner
    rows = text[inner + 1 : -inner - 1].split(closing + b"," + opening)
    if inner == 0:
        return rows
    return [b"%b%b%b" % (opening, row, closing) for row in rows]


def _text_tree(node: Any, name: str) -> Any:
    if isinstance(node, np.ndarray):
        return [_text_tree(item, name) for item in node]
    if isinstance(node, str):
        node = node.encode()
    if not name.endswith(BYTES_SUFFIX):
        try:
            return node.decode()
        except UnicodeDecodeError:
            pass  # not text after all: only base64 carries it
    return {"b64": base64.b64encode(node).decode()}
