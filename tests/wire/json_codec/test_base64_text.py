"""Base64 as absl::Base64Unescape reads it for TF Serving."""

import base64
import textwrap
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.json_codec.base64_text import decode_base64


@given(
    content=st.binary(), width=st.integers(1, 80), space=st.sampled_from(["\n", "\r\n", " ", "\t"])
)
def test_line_breaks_and_missing_padding_do_not_matter(
    content: bytes, width: int, space: str
) -> None:
    """However a library writes it, it stands for the same bytes."""
    text = base64.b64encode(content).decode()
    lines = space.join(textwrap.wrap(text, width))

    assert decode_base64(text) == content
    assert decode_base64(text.rstrip("=")) == content
    assert decode_base64(lines + space) == content
    assert decode_base64(lines.rstrip("=" + space)) == content


@given(content=st.binary())
def test_what_other_encoders_write_is_read(content: bytes) -> None:
    """MIME's lines of 76 characters, which Python's encodebytes writes."""
    assert decode_base64(base64.encodebytes(content).decode()) == content


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("?", "is not base64"),
        ("QUJ-", "URL-safe"),
        ("QU_=", "URL-safe"),
        ("Q", "cut off"),
        ("QUJDR", "cut off"),
        ("QUI==", "must end with '=' or without padding"),
        ("QQ=", "must end with '==' or without padding"),
        ("QUJD=", "must end with no '='"),
        ("QUJD====", "must end with no '='"),
        ("QQ==QQ==", "is not base64"),
        ("=", "must end with"),
        ("é", "is not base64"),
        ("QQ\0", "is not base64"),
    ],
)
def test_what_is_not_base64_is_refused(text: str, says: str) -> None:
    """Nothing is dropped to make it fit."""
    with pytest.raises(ValueError, match=says):
        decode_base64(text)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    """A body may hold any."""
    with suppress(ValueError):
        decode_base64(text)
