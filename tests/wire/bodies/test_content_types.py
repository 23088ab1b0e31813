import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from topicserve.wire.bodies.content_types import read_content_type
from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.errors import InvalidRecordError


@pytest.mark.parametrize(
    ("header", "content_type", "parameters"),
    [
        ("application/json", "application/json", {}),
        (" Text/Plain ; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
        (
            'text/plain;charset="utf-8";a="b;c=\\"d"',
            "text/plain",
            {"charset": "utf-8", "a": 'b;c="d'},
        ),
        ("text/plain; charset", "text/plain", {}),
        ("", "", {}),
    ],
)
def test_a_content_type_is_read_with_its_parameters(
    header: str, content_type: str, parameters: dict[str, str]
) -> None:
    """In any case, quoted or not."""
    assert read_content_type(header) == (content_type, parameters)


@pytest.mark.parametrize(
    "header",
    [
        *("image/", "image", "/png", "audio/x y", "image/*", "audio/*; q=1", "*/*", "*/png"),
        *("image/png/x", "image/a\tb", "image/ü", "image/(png)", "text/plain, image/png"),
    ],
)
def test_what_names_no_content_type_is_refused(header: str) -> None:
    """With the list of those that are read: `image/*` stands for each of a type."""
    with pytest.raises(InvalidRecordError, match=r"must be one of .*image/\*.*; found "):
        Bodies().find(header)


@pytest.mark.parametrize(
    "header", ["image/x-icon", "image/svg+xml", "audio/L16;rate=8000", "image/a*b"]
)
def test_any_subtype_of_a_token_is_read(header: str) -> None:
    """RFC 9110 has more characters in it than those that are registered."""
    assert Bodies().find(header).content_type == header.lower().partition(";")[0]


@given(st.text(max_size=200) | st.from_regex(r"(text/plain|image/png)(;[a-z]+=\S{0,9}){0,3}"))
@example('text/plain;charset="')
@example("text/plain;charset=\x00")
@example("text/plain;charset=zip")
def test_any_content_type_is_found_or_refused(header: str) -> None:
    """With the error that makes a dead letter, and no other."""
    try:
        codec = Bodies().find(header)
    except InvalidRecordError:
        return
    assert header.lower().strip().startswith(codec.content_type.partition("/")[0])


@pytest.mark.parametrize("text", ["; " * 20_000, ";a=" * 20_000, ';a="' * 20_001, "\\" * 50_000])
def test_reading_takes_linear_time(text: str) -> None:
    """A header may have 256 KiB. By the square this would take minutes."""
    read_content_type("text/plain;" + text)
