import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.dead_letters import an_entry
from tests.support.stages.records import an_id
from topicserve.cli.dead_letters.show import body_lines, lines_of


def test_everything_about_a_dead_letter_is_printed() -> None:
    """The error first, where it came from, its headers, and the body as indented JSON."""
    entry = an_entry(7, headers=[("ce_servable", b"digits"), ("raw", b"\xff")], value=b'{"a":[1]}')

    lines = list(lines_of(entry, "hex"))

    assert lines == [
        "reason     invalid_input",
        "error      builtins.ValueError",
        "message    x: is too long",
        f"id         {an_id(7)}",
        "servable   digits",
        "given up   2025-11-28T03:20:00+00:00  at 0:7",
        "came from  in partition 0 offset 7",
        "published  2023-11-14T22:13:20+00:00",
        "key        key",
        "headers",
        "  ce_specversion: 1.0",
        "  ce_type: topicserve.input",
        "  ce_source: /tests",
        f"  ce_id: {an_id(7)}",
        "  content-type: application/json",
        "  ce_servable: digits",
        "  raw: 0xff (1 byte)",
        "body       9 bytes, as JSON",
        "{",
        '  "a": [',
        "    1",
        "  ]",
        "}",
    ]


def test_a_body_that_is_no_json_is_printed_as_it_is_asked_for() -> None:
    """With its length; a null is no empty body."""
    assert list(body_lines(b"\x00\xff", "hex")) == ["body       2 bytes, as hex", "00ff"]
    assert list(body_lines(b"\x00\xff", "base64")) == ["body       2 bytes, as base64", "AP8="]
    assert list(body_lines(b"", "hex")) == ["body       0 bytes, as hex"]
    assert list(body_lines(None, "hex")) == ["body       null"]


def test_a_dead_letter_that_was_shortened_says_so() -> None:
    """What is left of it cannot be replayed."""
    lines = list(lines_of(an_entry(truncated="value=9"), "hex"))

    assert "truncated  value=9: cannot be replayed from here" in lines


@given(value=st.binary() | st.text().map(str.encode) | st.just(b"[" * 100_000))
def test_no_body_can_change_a_terminal(value: bytes) -> None:
    """Whatever it holds, what is printed is printable."""
    assert all(line.isprintable() for line in body_lines(value, "hex"))


@given(message=st.text(), name=st.text(), header=st.none() | st.binary(), key=st.binary())
def test_no_header_or_message_can_change_a_terminal(
    message: str, name: str, header: bytes | None, key: bytes
) -> None:
    """A producer chooses them freely."""
    entry = an_entry(message=message, headers=[(f"x{name}", header)], key=key)

    assert all(line.isprintable() for line in lines_of(entry, "hex"))


@pytest.mark.parametrize(
    "value",
    [
        b'{"a": 1.10, "b": 1e400, "c": 12345678901234567890123}',
        b'{"a":1,"a":2}',
        b'{"a":"\\u00e9\\ud800"}',
        b'{"a":' + b"9" * 6000 + b"}",
        b'{"instance":NaN}',
        b'[[[]], {}, "a b"]',
    ],
)
def test_a_json_body_is_shown_as_it_was_written(value: bytes) -> None:
    """Indented, where that changes white space alone: a number or a name may be the fault."""
    first, *lines = body_lines(value, "hex")

    assert first.endswith("as JSON")
    assert without_spaces("".join(lines)) == without_spaces(value.decode())


def without_spaces(text: str) -> str:
    """Return text without what indenting adds."""
    return "".join(text.split())
