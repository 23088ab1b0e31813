"""Removes passwords, tokens and signed queries from what is logged, printed, shown and raised.

Every error of ours and every line of the log passes `redact_urls`. A value that is known to be an
address, such as a base path, is given to `redact_address` before it becomes part of a text.
"""

import re
from collections.abc import Iterable

REDACTED = "***"
_ADDRESS = re.compile(
    r"(?:(?:redis|rediss)://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/\d*)?"
    r"|unix://[A-Za-z0-9._/-]+)"
)
_SEPARATOR = "://"
_BEHIND_A_URL = ":;,.)]}'\""
"""Belongs to the text around it."""
# Of a longer scheme its end is enough; a limit keeps the work linear in the text.
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}://\S*")


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets given, whichever way they were quoted."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, REDACTED)
    return text


def redact_urls(text: str) -> str:
    """Return a text of which no URL has a user, a password, a query or a fragment."""
    if _SEPARATOR not in text:
        return text
    return _URL_IN_TEXT.sub(_redacted, text)


def _redacted(found: re.Match[str]) -> str:
    url = found[0].rstrip(_BEHIND_A_URL)
    return redact_address(url) + found[0][len(url) :]


def redact_address(address: str) -> str:
    """Return a path, a URL or a host and port without what may be a secret in it.

    Where that cannot be told from the rest, because a password or a query has characters that mean
    something in a URL, nothing but the scheme is shown.
    """
    scheme, separator, rest = address.partition(_SEPARATOR)
    if not separator:
        scheme, rest = "", address
    user, at, host = rest.rpartition("@")
    if at and _is_user(user, is_url=bool(separator)):
        if any(mark in user for mark in "?#"):
            return f"{scheme}{separator}{REDACTED}"
        rest = f"{REDACTED}@{host}"
    if separator and (query := re.search(r"[?#]", rest)) is not None:
        rest = f"{rest[: query.start()]}?{REDACTED}"
    return f"{scheme}{separator}{rest}"


def secrets_of(address: str) -> tuple[str, ...]:
    """Return what `redact_address` leaves out, for texts that name parts of the address."""
    rest = address.rpartition(_SEPARATOR)[2]
    user, _, host = rest.rpartition("@")
    query = re.split(r"[?#]", host, maxsplit=1)[1:]
    parts = [address, rest, user, user.partition(":")[2], *query]
    return tuple(part for part in parts if part) if redact_address(address) != address else ()


def _is_user(before: str, *, is_url: bool) -> bool:
    """Tell whether what stands before the last @ names a user, and is not a part of a path."""
    if is_url:
        return ":" in before or "/" not in before
    return ":" in before and not before.startswith((".", "/"))


def redact_url(url: str) -> str:
    """Return a Redis URL fit for a message: without user, password and query.

    A URL that does not parse may have its password anywhere, so nothing of it is shown unless all
    that is left is plainly an address.
    """
    scheme, separator, rest = url.partition(_SEPARATOR)
    # A password may hold any character, so what stands before the last @ is left out. An @ of the
    # query is behind the address: then the address is left out too.
    address = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    shown = f"{scheme}{separator}{address}"
    return shown if _ADDRESS.fullmatch(shown) else "a URL that is not shown (it does not parse)"
