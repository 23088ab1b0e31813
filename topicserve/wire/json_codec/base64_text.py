"""Base64 as TensorFlow Serving reads it.

Its decoder (absl::Base64Unescape) passes over white space, lets the padding be left out, and knows
the standard alphabet alone.
"""

import binascii
import re

_WHITE_SPACE = str.maketrans("", "", " \t\n\v\f\r")
_CONTENT = re.compile(r"([A-Za-z0-9+/]*)(=*)")
_PADDING = ("", None, "==", "=")
"""By how many characters of the last group of four there are; one alone is no byte."""


def decode_base64(text: str) -> bytes:
    """Return what base64 text stands for; raises ValueError that says what is wrong with it."""
    # Python's strict mode takes any number of = after whole groups of four.
    if len(text) % 4 == 0 and not text.endswith("==="):
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except ValueError:  # binascii.Error, or a character that is not ASCII
            pass
    return _decode_leniently(text.translate(_WHITE_SPACE))


def _decode_leniently(text: str) -> bytes:
    found = _CONTENT.fullmatch(text)
    if found is None:
        if "-" in text or "_" in text:
            raise ValueError("is not base64: it has the URL-safe alphabet's - or _; use + and /")
        raise ValueError("is not base64")
    content, given = found.groups()
    padding = _PADDING[len(content) % 4]
    if padding is None:
        raise ValueError("is not base64: it is cut off within a byte")
    if given not in ("", padding):
        ending = f"{padding!r} or without padding" if padding else "no '='"
        raise ValueError(f"is not base64: it must end with {ending}")
    return binascii.a2b_base64(content + padding)
