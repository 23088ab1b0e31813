from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.references.allow_list import AllowList, read_prefix
from topicserve.backends.references.errors import ReferenceRefusedError

PREFIXES = (
    "s3://bucket/bodies",
    "https://Store.example/bodies/",
    "http://127.0.0.1:8080",
    "file:///var/bodies",
    "memory://bodies",
)
ALLOWED = AllowList(PREFIXES)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://bucket/bodies/a", "/bodies/a"),
        ("s3://bucket/bodies/a/b%20c.json", "/bodies/a/b c.json"),
        ("S3://bucket/bodies/a", "/bodies/a"),
        ("s3://bucket/%62odies/a", "/bodies/a"),
        ("https://store.example/bodies/a?X-Signature=1", "/bodies/a"),
        ("https://STORE.example:443/bodies/a", "/bodies/a"),
        ("https://store.example./bodies/a", "/bodies/a"),
        ("http://127.0.0.1:8080/a", "/a"),
        ("file:///var/bodies/a", "/var/bodies/a"),
        ("file://localhost/var/bodies/a", "/var/bodies/a"),
        ("memory://bodies/a..b/..c", "/a..b/..c"),
    ],
)
def test_urls_under_a_prefix_are_allowed(url: str, path: str) -> None:
    """However scheme, host and escapes are written; the path is decoded once."""
    assert ALLOWED.locate(url).path == path


@pytest.mark.parametrize(
    "url",
    [
        # Beside the prefix, above it, and the prefix itself.
        "s3://bucket/bodies",
        "s3://bucket/bodies/",
        "s3://bucket/bodies2/a",
        "s3://bucket2/bodies/a",
        "s3://Bucket/bodies/a",
        "http://127.0.0.1:8081/a",
        "http://127.0.0.1/a",
        "https://store.example:8443/bodies/a",
        "https://store.example.evil.example/bodies/a",
        # Another protocol, or none.
        "http://store.example/bodies/a",
        "/var/bodies/a",
        "bodies/a",
        "",
        "simplecache::s3://bucket/bodies/a",
        "s3://bucket/bodies/a::file:///etc/passwd",
        "s3://bucket/bodies/a%3A%3Afile",
        "s3://bucket/bodies/a:%253afile",
        "https://127.0.0.1:8080/a",
        # Up and out, plain and escaped.
        "s3://bucket/bodies/../a",
        "s3://bucket/bodies/./a",
        "s3://bucket/bodies//a",
        "s3://bucket/bodies/%2e%2e/a",
        "s3://bucket/bodies/%2E./a",
        "s3://bucket/bodies/%252e%252e/a",
        "s3://bucket/bodies/..%2fa",
        "s3://bucket/bodies/%2e%2e%2fa",
        "s3://bucket/bodies/..%5ca",
        "s3://bucket/bodies/..\\a",
        "s3://bucket/bodies/..;x=1/a",
        "s3://bucket/bodies/%20../a",
        "s3://bucket/bodies/a%00",
        "s3://bucket/bodies/a%0a",
        "s3://bucket/bodies/%ff",
        "s3://bucket/bodies/%zz",
        "s3://bucket/bodies/%25252525252e",
        # Users, other hosts, queries and fragments.
        "https://store.example@evil.example/bodies/a",
        "https://user:secret@store.example/bodies/a",
        "https://store.example:80:443/bodies/a",
        "https://store.example:99999/bodies/a",
        "https://store.example#/bodies/a",
        "https://store.example/bodies/a#b",
        "https:///bodies/a",
        "https://[::1/bodies/a",
        "file://evil.example/var/bodies/a",
        "file:///var/bodies/a?b",
        "file:/var/bodies/a",
        "s3://bucket/bodies/a?versionId=1",
    ],
)
def test_every_way_out_of_a_prefix_is_refused(url: str) -> None:
    """What a server could read otherwise is refused, too."""
    with pytest.raises(ReferenceRefusedError):
        ALLOWED.locate(url)


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["..", ".", "/", "//", "%2e", "%2f", "%5c", "%25", "\\", ";", "?", "#"]),
        st.sampled_from(["@", ":", "::", "bodies", "s3:", "file:", "evil.example", "%00", " "]),
        st.text(max_size=3),
    ),
    max_size=8,
).map("".join)


@given(st.sampled_from([*PREFIXES, ""]), PIECES, st.booleans())
def test_whatever_a_url_says_it_stays_under_its_prefix(
    prefix: str, rest: str, is_escaped: bool
) -> None:
    """Decoded as often as may be, and with its dots taken out, an allowed path is still there."""
    url = prefix + (quote(rest) if is_escaped else rest)

    try:
        found = ALLOWED.locate(url)
    except ReferenceRefusedError:
        return

    assert found.prefix is not None
    assert found.prefix in ALLOWED.prefixes
    assert (found.scheme, found.host) == (found.prefix.scheme, found.prefix.host)
    assert found.names[: len(found.prefix.names)] == found.prefix.names
    for name in found.names:
        assert name not in ("", ".", "..")
        assert not set("/\\\0") & set(name)
    assert "@" not in found.host
    assert "::" not in found.path


@pytest.mark.parametrize(
    "prefix",
    [
        *("file:///", "file://", "s3://", "https://", "https:///a", "/var/bodies", "bodies"),
        *("s3://bucket/../a", "https://user@host/a", "https://host/a?b", "https://host/a#b"),
        "file://host/a",
    ],
)
def test_a_prefix_that_says_too_much_or_too_little_is_refused(prefix: str) -> None:
    """A slip in the configuration must not allow every file of the machine."""
    with pytest.raises(ReferenceRefusedError):
        read_prefix(prefix)


def test_a_refusal_names_what_is_allowed_and_hides_what_is_secret() -> None:
    """The dead letter tells what to correct, without a signature or a password."""
    with pytest.raises(ReferenceRefusedError) as refused:
        AllowList(["s3://bucket/bodies"]).locate("https://store.example/a?X-Signature=secret")

    assert "allowed: s3://bucket/bodies" in str(refused.value)
    assert "secret" not in str(refused.value)
