"""Content types: `type/subtype; name=value`, as RFC 9110 section 8.3 has them."""

import re

# A value in quotation marks may hold anything.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_ESCAPED = re.compile(r"\\(.)")
_TOKEN = r"[a-z0-9!#$&^_.+-]{1,127}"
_DECLARED = re.compile(rf"{_TOKEN}/(?:{_TOKEN}|\*)")

# What a record may say: RFC 9110's tokens. `image/*` is a range of content types, so it is none.
_NAME = r"[a-z0-9!#$%&'*+.^_`|~-]+"
_IN_A_RECORD = re.compile(rf"(?!\*/|.*/\*\Z){_NAME}/{_NAME}")


def read_content_type(header: str) -> tuple[str, dict[str, str]]:
    """Return the content type in lower case, and its parameters by their names in lower case.

    Parameters that are none are left out: most bodies have no use for any.
    """
    parameters = {
        name.lower(): _ESCAPED.sub(r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(header)
    }
    return header.partition(";")[0].strip().lower(), parameters


def names_one_type(content_type: str) -> bool:
    """Return whether this is a content type in lower case: `type/subtype`, neither of them `*`."""
    return _IN_A_RECORD.fullmatch(content_type) is not None


def wildcard_of(content_type: str) -> str:
    """Return what stands for all content types of the same type: `image/*` for `image/png`."""
    return f"{content_type.partition('/')[0]}/*"


def is_content_type(text: object) -> bool:
    """Return whether a body may declare this: a content type in lower case without parameters."""
    return isinstance(text, str) and _DECLARED.fullmatch(text) is not None
