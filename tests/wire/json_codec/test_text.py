"""JSON with the number tokens that Python writes."""

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.json_codec import text as json_text
from topicserve.wire.json_codec.text import count_byte, load_json

_leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
_texts = st.text(st.sampled_from('NaInfity"\\-,[{ '), max_size=12)
_trees = st.recursive(
    _leaves | _texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | _texts, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(tree=_trees, ascii_only=st.booleans())
def test_what_python_writes_is_read(tree: Any, ascii_only: bool) -> None:
    """The tokens are numbers, and strings that have their names stay strings."""
    text = json.dumps(tree, ensure_ascii=ascii_only).encode(errors="surrogatepass")

    assert repr(load_json(text)) == repr(tree)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"nan",
            b"[NaN",
            b"NaN]",
            b"1NaN",
            b"NaN1",
            b"NaNNaN",
            b"--Infinity",
            b"+Infinity",
            b"Inf",
        ),
        *(b"[NaN,]", b"[NaN 1]", b"[NaN,1e400]", b'[NaN,"\\ud800"]', b'"NaN', b'[NaN,"\xff"]'),
        *(b"", b"[01,NaN]", b"{NaN:1}", b"\xef\xbb\xbf[NaN]"),
    ],
)
def test_nothing_else_is_taken_that_is_no_json(text: bytes) -> None:
    """Python's parser takes more than JSON and tokens: that does not."""
    with pytest.raises(ValueError, match=r"\w"):
        load_json(text)


@given(st.text(st.sampled_from('NaInfity"\\-,[]{}:01 ')).map(str.encode) | st.binary())
def test_tokens_or_not_what_is_refused_is_a_value_error(text: bytes) -> None:
    """Callers can rely on one error."""
    with suppress(ValueError):
        load_json(text)


def test_text_without_tokens_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens are looked for only where parsing has failed."""
    monkeypatch.setattr(json_text, "without_number_tokens", None)

    assert load_json(b'["NaN", "-Infinity", 1]') == ["NaN", "-Infinity", 1]
    assert load_json(orjson.dumps([1.5])) == [1.5]


@given(st.text("[{a", max_size=40), st.integers(0, 5000), st.integers(0, 5000))
def test_bytes_are_counted_in_long_texts_as_in_short_ones(text: str, start: int, end: int) -> None:
    """Whichever way is faster, and only between two places."""
    content = (text + "b" * 20).encode() * 100

    for byte in (b"[", b"{", b"x"):
        end = min(end, len(content))
        assert count_byte(content, byte, start, end) == content.count(byte, start, end)
        assert count_byte(content, byte) == content.count(byte)


@pytest.mark.parametrize("strings", [b"", b'"[\\"[\\\\",'])
@pytest.mark.parametrize("closed", [b"", b"]"])
@pytest.mark.parametrize("depth", [1_020, 1_030, 100_000])
def test_text_nested_too_deeply_is_told_by_its_error(
    depth: int, closed: bytes, strings: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsers name it in several ways; callers look for one, whatever the size."""
    monkeypatch.setattr(json_text, "_DEPTH_CHUNK_BYTES", 300)
    content = b"[" + strings + b"[" * depth + closed * depth

    with pytest.raises(RecursionError):
        load_json(content)


def test_brackets_within_strings_nest_nothing() -> None:
    """A text that is no JSON for another reason is not called nested too deeply."""
    with pytest.raises(ValueError, match="unexpected end"):
        load_json(b'["\\"' + b"[" * 2_000 + b'"')
