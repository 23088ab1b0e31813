"""JSON text as TensorFlow Serving takes it: with the tokens NaN, Infinity and -Infinity.

JSON has no such numbers, but Python's json.dumps writes them and TF Serving's parser reads them
(util/json_tensor.cc, kParseNanAndInfFlag). They are looked for only where a text is no JSON
without them: what has none costs nothing more.
"""

import json
import re
from typing import Any

import orjson

# A string that does not end matches, too: each quotation mark is looked at once, whatever follows.
_STRING_OR_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|NaN|-?Infinity', re.DOTALL)


def load_json(content: bytes | str) -> Any:
    """Return what a JSON text holds, or raise ValueError or RecursionError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content.encode() if isinstance(content, str) else content
        plain = without_number_tokens(text)
        if plain is None:
            raise
        return load_with_tokens(text, plain)


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
