"""Points in time, as deadlines have them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.rfc3339 import read_time, write_time

NEW_YEAR = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2099-01-01T00:00:00Z", NEW_YEAR),
        ("2099-01-01t00:00:00z", NEW_YEAR),
        ("2099-01-01 00:00:00+00:00", NEW_YEAR),
        ("2099-01-01T00:00:00-00:00", NEW_YEAR),
        ("2099-01-01T02:00:00+02:00", NEW_YEAR),
        ("2099-01-01T00:00:00.5Z", NEW_YEAR.replace(microsecond=500_000)),
        ("2099-01-01T00:00:00.1234567891Z", NEW_YEAR.replace(microsecond=123_456)),
        ("2098-12-31T23:59:60Z", NEW_YEAR),
        ("2099-01-01T01:59:60.25+02:00", NEW_YEAR.replace(microsecond=250_000)),
        ("9999-12-31T23:59:60Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_every_form_of_the_rfc_is_read(text: str, time: datetime) -> None:
    """Also those that Python's reader refuses: a small t and z, and a leap second."""
    assert read_time(text) == time


@pytest.mark.parametrize(
    "text",
    [
        *("", "tomorrow", "2099-01-01", "2099-01-01T00:00:00", "2099-W01-1T00:00:00Z"),
        *("20990101T000000Z", "2099-01-01T00:00Z", "2099-01-01T00Z", "2099-01-01T00:00:00,5Z"),
        *("2099-01-01T00:00:00+0200", "2099-01-01T00:00:00+02", "2099-01-01T00:00:00+24:00"),
        *("2099-01-01T24:00:00Z", "2099-02-30T00:00:00Z", "2099-01-01T00:00:61Z"),
        *("2099-01-01T12:00:60Z", "2099-01-01T23:59:60+02:00", "2099-01-01T00:00:00+02:00:30"),
        *("2099-01-01T00:00:00.Z", "2099-01-01_00:00:00Z", "2099-01-01T00:00:00Z\n"),
        "\u0662\u0660\u0669\u0669-01-01T00:00:00Z",
    ],
)
def test_other_forms_of_time_are_refused(text: str) -> None:
    """What one program reads and another does not is no deadline for both."""
    with pytest.raises(ValueError, match=r"."):
        read_time(text)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(9000, 1, 1)),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
)
def test_what_is_written_is_read_back(time: datetime, offset: timedelta) -> None:
    """Whatever the offset: one with seconds, as old local times have, is written in UTC."""
    aware = time.replace(tzinfo=timezone(offset))

    assert read_time(write_time(aware)) == aware


@given(
    st.text() | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:(\d\d|60)(\.\d*)?(Z|[+-]\d\d:\d\d)\Z")
)
def test_no_text_raises_anything_else(text: str) -> None:
    """A topic may hold any."""
    with suppress(ValueError):
        assert read_time(text).utcoffset() is not None
