"""Which URLs may be read: those under a prefix that the configuration names.

A URL comes from a record, so from those who can write to the topic: it is parsed strictly, compared
part by part, and refused where a server might read it otherwise than it is read here.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from topicserve.backends.references.errors import ReferenceRefusedError, UrlNotAllowedError

FILE, HTTP, HTTPS = "file", "http", "https"
_WEB = {HTTP: 80, HTTPS: 443}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?(#.*)?", re.ASCII)
_WEB_HOST = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?::\d{1,5})?", re.ASCII)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\]")
# fsspec would take it for a chain of file systems.
_CHAIN = "::"
# An escape of an escape of an escape has no good reason.
_MAX_ESCAPES = 3


@dataclass(frozen=True, slots=True)
class Location:
    """A URL in its parts. Two that lie at the same place have the same scheme, host and names."""

    scheme: str
    host: str
    """Host and port, or the bucket; empty for files."""
    names: tuple[str, ...]
    """The path's segments, decoded."""
    target: str
    """Path and query as they were written, for HTTP."""
    prefix: "Location | None" = None
    """The allowed prefix that it is under; None for a prefix itself."""

    @property
    def path(self) -> str:
        """Return the decoded path, from the root on."""
        return "/" + "/".join(self.names)

    @property
    def url(self) -> str:
        """Return the URL without its query."""
        return f"{self.scheme}://{self.host}{self.path if self.names else ''}"

    @property
    def escaped_url(self) -> str:
        """Return a URL that leads here."""
        return f"{self.scheme}://{self.host}/" + "/".join(quote(n, safe="") for n in self.names)

    def below(self, *names: str) -> "Location":
        """Return the place of these names under this one, which is its prefix."""
        return Location(self.scheme, self.host, (*self.names, *names), "", self)

    def is_under(self, prefix: "Location") -> bool:
        """Return whether it names something under a prefix."""
        depth = len(prefix.names)
        return (
            (self.scheme, self.host) == (prefix.scheme, prefix.host)
            and len(self.names) > depth
            and self.names[:depth] == prefix.names
        )


class AllowList:
    """The prefixes under which URLs may be read. Never changes; any thread may use it."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        """Take the prefixes; raises ReferenceRefusedError for one that cannot be one."""
        self.prefixes: Sequence[Location] = tuple(read_prefix(prefix) for prefix in prefixes)

    def locate(self, url: str) -> Location:
        """Return where a URL leads, or raise ReferenceRefusedError where it is not allowed."""
        location = parse_url(url)
        if not location.names:
            raise ReferenceRefusedError(f"{url} names no file or object")
        for prefix in self.prefixes:
            if location.is_under(prefix):
                parts = location.scheme, location.host, location.names, location.target
                return Location(*parts, prefix)
        allowed = ", ".join(prefix.url for prefix in self.prefixes) or "nothing"
        raise UrlNotAllowedError(f"{url} is under no allowed prefix; allowed: {allowed}")


def read_prefix(text: str) -> Location:
    """Return an allowed prefix, or raise ReferenceRefusedError saying what is wrong with it."""
    location = parse_url(text, is_prefix=True)
    if location.scheme == FILE and not location.names:
        raise ReferenceRefusedError(f"{text} would allow every file of this machine")
    if location.scheme != FILE and not location.host:
        raise ReferenceRefusedError(f"{text} names no host or bucket")
    return location


def parse_url(url: str, *, is_prefix: bool = False) -> Location:
    """Return a URL's parts, or raise ReferenceRefusedError where they are not beyond doubt."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ReferenceRefusedError(f"{url} is no URL of the form scheme://host/path")
    scheme, authority, path, query, fragment = found.groups()
    scheme = scheme.lower()
    if fragment is not None:
        raise ReferenceRefusedError(f"{url} has a fragment")
    if "@" in authority:
        raise ReferenceRefusedError(f"{url} has a user or a password")
    if query is not None and (is_prefix or scheme not in _WEB):
        raise ReferenceRefusedError(f"{url} has a query")
    if _CHAIN in (path or ""):
        raise ReferenceRefusedError(f"{url} has two colons in its path")
    segments = (path or "").removesuffix("/" if is_prefix or path == "/" else "").split("/")[1:]
    names = tuple(_name(url, segment) for segment in segments)
    target = (path or "/") + (query or "")
    return Location(scheme, _host(url, scheme, authority), names, target)


def _host(url: str, scheme: str, authority: str) -> str:
    if scheme == FILE:
        if authority not in ("", "localhost"):
            raise ReferenceRefusedError(f"{url} names another machine")
        return ""
    if scheme not in _WEB:
        if authority and not _BUCKET.fullmatch(authority):
            raise ReferenceRefusedError(f"{url} has no such host or bucket")
        return authority
    found = _WEB_HOST.fullmatch(authority)
    if found is None or (found[2] and not 0 < int(found[2]) < 65_536):
        raise ReferenceRefusedError(f"{url} has no such host")
    return f"{found[1].lower().rstrip('.')}:{int(found[2] or _WEB[scheme])}"


def _name(url: str, segment: str) -> str:
    """Return a segment of a path decoded; refuse what could lead elsewhere, however it is read."""
    if _BROKEN_ESCAPE.search(segment):
        raise ReferenceRefusedError(f"{url} has a % that escapes nothing")
    try:
        name = decoded = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise ReferenceRefusedError(f"{url} has a name that is not UTF-8") from None
    # A server may decode once more than it should, and cut parameters off.
    for _ in range(_MAX_ESCAPES):
        bare = decoded.partition(";")[0].strip()
        if bare in ("", ".", "..") or _NOT_IN_NAMES.search(decoded) or _CHAIN in decoded:
            raise ReferenceRefusedError(f"{url} has a name that leads elsewhere: {segment[:64]!r}")
        further = unquote(decoded, errors="replace")
        if further == decoded:
            return name
        decoded = further
    raise ReferenceRefusedError(f"{url} has a name that is escaped many times over")
