import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.references.header import MAX_URL_CHARACTERS, Reference, read_reference
from topicserve.wire.errors import InvalidRecordError

HASH = b"sha256:" + b"Ab" * 32


def test_a_reference_is_read_from_its_headers() -> None:
    """The URL as it is written, the hash in lower case; nothing where there is none."""
    url = ("ce_dataref", b"s3://bucket/a%20b")

    assert read_reference([("ce_id", b"1")]) is None
    assert read_reference([("ce_datarefhash", HASH)]) is None
    assert read_reference([url, url]) == Reference("s3://bucket/a%20b")
    assert read_reference([url, ("ce_datarefhash", HASH)]) == Reference(
        "s3://bucket/a%20b", "ab" * 32
    )


@pytest.mark.parametrize(
    ("headers", "at_fault", "says"),
    [
        ([("ce_dataref", b"")], "ce_dataref", "must be a URL, found ''"),
        ([("ce_dataref", None)], "ce_dataref", "must be a URL"),
        ([("ce_dataref", b"s3://bucket/a b")], "ce_dataref", "character ' ' percent-encoded"),
        ([("ce_dataref", b"s3://bucket/\xff")], "ce_dataref", "'\ufffd' percent-encoded"),
        ([("ce_dataref", b"s3://bucket/a\n")], "ce_dataref", r"'\n' percent-encoded"),
        ([("ce_dataref", b"file:///a\\b")], "ce_dataref", r"'\\' percent-encoded"),
        ([("ce_dataref", "s3://bucket/\u00e9".encode())], "ce_dataref", "'\u00e9' percent-encoded"),
        (
            [("ce_dataref", b"s" * (MAX_URL_CHARACTERS + 1))],
            "ce_dataref",
            "at most 8192 characters, has 8193",
        ),
        (
            [("ce_dataref", b"s3://a/b"), ("ce_dataref", b"s3://a/c")],
            "ce_dataref",
            "is there twice",
        ),
        (
            [("ce_dataref", b"s3://a/b"), ("ce_datarefhash", b"md5:1")],
            "ce_datarefhash",
            "must be sha256:",
        ),
        (
            [("ce_dataref", b"s3://a/b"), ("ce_datarefhash", HASH + b"0")],
            "ce_datarefhash",
            "must be sha256:",
        ),
    ],
)
def test_a_header_that_is_no_reference_is_named(
    headers: list[tuple[str, bytes | None]], at_fault: str, says: str
) -> None:
    """So that the dead letter tells which one to correct, and how."""
    with pytest.raises(InvalidRecordError) as found:
        read_reference(headers)

    assert found.value.field == at_fault
    assert says in found.value.problem


@given(st.binary(max_size=40), st.one_of(st.none(), st.binary(max_size=80)))
def test_any_bytes_are_read_or_refused(url: bytes, given_hash: bytes | None) -> None:
    """With no error but the one that names the header."""
    try:
        found = read_reference([("ce_dataref", url), ("ce_datarefhash", given_hash)])
    except InvalidRecordError:
        return

    assert found is not None
    assert found.url == url.decode("ascii")
