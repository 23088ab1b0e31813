"""Removes passwords from what is logged, printed and raised."""

import re
from collections.abc import Iterable

REDACTED = "***"
_ADDRESS = re.compile(
    r"(?:(?:redis|rediss)://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/\d*)?"
    r"|unix://[A-Za-z0-9._/-]+)"
)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets given, whichever way they were quoted."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, REDACTED)
    return text


def redact_url(url: str) -> str:
    """Return a Redis URL fit for a message: without user, password and query.

    A URL that does not parse may have its password anywhere, so nothing of it is shown unless all
    that is left is plainly an address.
    """
    scheme, separator, rest = url.partition("://")
    # A password may hold any character, so what stands before the last @ is left out. An @ of the
    # query is behind the address: then the address is left out too.
    address = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    shown = f"{scheme}{separator}{address}"
    return shown if _ADDRESS.fullmatch(shown) else "a URL that is not shown (it does not parse)"
