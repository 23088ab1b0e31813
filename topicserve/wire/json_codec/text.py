"""JSON text as TensorFlow Serving takes it: with the tokens NaN, Infinity and -Infinity.

JSON has no such numbers, but Python's json.dumps writes them and TF Serving's parser reads them
(util/json_tensor.cc, kParseNanAndInfFlag). They are looked for only where a text is no JSON
without them: what has none costs nothing more.
"""

import json
import math
import re
import threading
from typing import Any

import numpy as np
import orjson

from topicserve.wire.limits import shortened

LONE_ROW_OPENING, LONE_ROW_CLOSING = b'{"instance":', b"}"

LARGE_BYTES = 64 * 1024
"""A body that is larger stays undecoded until its batch is built."""
one_large_tree = threading.RLock()
"""Held while a large body is a tree, which takes up to 35 times the memory of its text.

To parse and to convert holds the interpreter's lock anyway, so that nothing is lost by it.
"""

# From here on numpy counts faster.
_MANY_BYTES = 2048
# Parsers refuse about 1,000 levels, each in words of its own, some as if it were another fault.
_READABLE_LEVELS = 512
_DEPTH_CHUNK_BYTES = 64 * 1024

# A string that does not end matches, too: each quotation mark is looked at once, whatever follows.
# `*+` goes back to nothing that it has passed, which would be remembered: 128 bytes an escape.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_OPENING, _CLOSING = (91, 123), (93, 125)
_STRING_OR_TOKEN = re.compile(_STRING.pattern + rb"|NaN|-?Infinity", re.DOTALL)
_STRING_OR_NUMBER = re.compile(_STRING.pattern + rb"|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.DOTALL)
# What orjson says of the place of an error.
_PLACE = re.compile(r": line \d+ column \d+ \(char \d+\)$")
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def count_byte(content: bytes, byte: bytes, start: int = 0, end: int | None = None) -> int:
    """Return how often a byte is in a text, as `bytes.count` does, which looks at each in turn."""
    end = len(content) if end is None else end
    if end - start < _MANY_BYTES:
        return content.count(byte, start, end)
    first = content.find(byte, start, end)
    if first < 0:
        return 0
    end = content.rfind(byte, first, end) + 1  # one that is rare may stand at the beginning alone
    octets = np.frombuffer(content, np.uint8, end - first, first)
    return int(np.count_nonzero(octets == byte[0]))


def load_json(content: bytes | str) -> Any:
    """Return what a JSON text holds, or raise ValueError; RecursionError if it is too deep."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content.encode() if isinstance(content, str) else content
        if nesting_depth(text) > _READABLE_LEVELS:
            raise RecursionError("is nested too deeply") from None
        plain = without_number_tokens(text)
        if plain is None:
            raise
        return load_with_tokens(text, plain)


def nesting_depth(content: bytes) -> int:
    """Return how many lists and objects stand within one another in a text, JSON or not."""
    if b'"' in content:
        content = _STRING.sub(b"", content)
    depth = deepest = 0
    for start in range(0, len(content), _DEPTH_CHUNK_BYTES):
        text = np.frombuffer(content[start : start + _DEPTH_CHUNK_BYTES], np.uint8)
        steps = np.isin(text, _OPENING).astype(np.int8) - np.isin(text, _CLOSING)
        depths = np.cumsum(steps, dtype=np.int32)
        deepest = max(deepest, depth + int(depths.max()))
        depth += int(depths[-1])
    return deepest


def load_with_tokens(text: bytes, plain: bytes) -> Any:
    """Return what a JSON text holds of which `plain` is `without_number_tokens`."""
    # Python's parser is the more lenient of the two: everything else must please both.
    orjson.loads(plain)
    return json.loads(text.decode())


def without_number_tokens(content: bytes) -> bytes | None:
    """Return a text with 0 for each of the three tokens outside strings; None where it has none."""
    if b"NaN" not in content and b"Infinity" not in content:
        return None
    plain = _STRING_OR_TOKEN.sub(_without_token, content)
    return None if plain == content else plain


def _without_token(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else b"0"


def why_not_json(content: bytes, error: Exception, *, is_part: bool = False) -> str:
    """Return what keeps a text from being JSON; parsers' own words name bad Unicode badly.

    Of a part of a body no position is told: it would not be the one in the record.
    """
    try:
        content.decode()
    except UnicodeDecodeError as found:
        byte = content[found.start]
        where = "" if is_part else f" at position {found.start}"
        return f"is not UTF-8: the byte 0x{byte:02x}{where}"
    surrogate = _lone_surrogate(content)
    if surrogate is not None:
        shown = surrogate[0].decode()
        where = "" if is_part else f" at position {surrogate.start()}"
        return f"has the lone surrogate {shown}{where}, which is no Unicode text"
    number = _infinite_number(content) if "infinity" in str(error) else None
    if number is not None:
        return f"has the number {shortened(number)}, which is larger than any float64"
    return f"is not JSON: {_PLACE.sub('', str(error)) if is_part else error}"


def _infinite_number(content: bytes) -> str | None:
    """Return the first number that is infinite as a double."""
    for found in _STRING_OR_NUMBER.finditer(content):
        if found[1] and math.isinf(float(found[1])):
            return found[1].decode()
    return None


def _lone_surrogate(content: bytes) -> re.Match[bytes] | None:
    """Return the first escape that is one half of a pair without the other."""
    high: re.Match[bytes] | None = None
    for escape in _ESCAPE.finditer(content):
        code = int(escape[1], 16) if escape[1] else 0
        is_low = 0xDC00 <= code < 0xE000
        is_pair = high is not None and is_low and high.end() == escape.start()
        if high is not None and not is_pair:
            return high
        if is_low and not is_pair:
            return escape
        high = escape if 0xD800 <= code < 0xDC00 else None
    return high
