"""Plain text: one string in UTF-8, whatever the charset is that it came in."""

import codecs
from collections.abc import Mapping
from functools import cache, partial

from topicserve.wire import header_names as names
from topicserve.wire.bodies.codec import BodyCodec
from topicserve.wire.bodies.options import need_no_options
from topicserve.wire.bodies.raw import ValueCodec
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.bodies.value_rows import ValueRows
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.limits import shortened

DEFAULT_CHARSET = "utf-8"
# Python's codecs are more than charsets: some decompress, some take time by the square of a text.
CHARSETS = frozenset(
    {
        *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
        *("ascii", "koi8-r", "koi8-u"),
        *(f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))),
        *(f"cp{page}" for page in (437, 850, 866, 874, 932, 949, 1250, 1251, 1252, 1253)),
        *(f"cp{page}" for page in (1254, 1255, 1256, 1257, 1258)),
        *("big5", "big5hkscs", "euc_jp", "euc_kr", "gb2312", "gbk", "gb18030"),
        *("iso2022_jp", "iso2022_kr", "shift_jis"),
    }
)
"""As Python calls them; other names of the same charsets are taken too."""
_BYTE_ORDER_MARK = "\ufeff"
# Charsets whose decoders keep the mark; those of UTF-16 and UTF-32 without an order take it off.
_KEEP_THE_MARK = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "gb18030")


def make_body(options: Mapping[str, object]) -> CodecOf:
    """Return what reads plain text; there are no options."""
    need_no_options(options, "text")
    return _codec_of


def _codec_of(content_type: str, parameters: Mapping[str, str]) -> BodyCodec:
    charset = _charset(parameters.get("charset", DEFAULT_CHARSET))
    return ValueCodec(content_type, _rows_of(charset))


@cache
def _rows_of(charset: str) -> ValueRows:
    is_utf8 = charset in (DEFAULT_CHARSET, "ascii")
    return ValueRows(partial(_checked if is_utf8 else _converted, charset))


def _charset(given: str) -> str:
    try:
        found = codecs.lookup(given).name
    except (LookupError, ValueError):  # a null character, or one that is not ASCII
        found = ""
    if found not in CHARSETS:
        raise InvalidRecordError(
            names.CONTENT_TYPE, f"has the charset {shortened(given)!r}, which is not known"
        )
    return found


def _checked(charset: str, value: bytes) -> bytes:
    """Return UTF-8 as it is, without a byte order mark."""
    if not value.isascii():
        _decoded(charset, value)
    return value.removeprefix(codecs.BOM_UTF8)


def _converted(charset: str, value: bytes) -> bytes:
    text = _decoded(charset, value)
    if charset in _KEEP_THE_MARK:
        text = text.removeprefix(_BYTE_ORDER_MARK)
    return text.encode()


def _decoded(charset: str, value: bytes) -> str:
    try:
        return value.decode(charset)
    except UnicodeDecodeError as error:
        found = value[error.start : error.start + 1].hex()
        raise InvalidRecordError(
            "value", f"is not {charset}: the byte 0x{found} at position {error.start}"
        ) from None
