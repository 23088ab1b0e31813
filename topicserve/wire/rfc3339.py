"""Points in time as RFC 3339 has them, no more and no less than its grammar (section 5.6)."""

import re
from datetime import UTC, datetime, timedelta

# Python's reader takes other ISO 8601 forms too (week dates, no seconds, +0200), and neither "z"
# nor a leap second. A space for the T is the RFC's own exception, and what str(datetime) writes.
_FORM = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_LEAP_SECOND = "60"
_SECOND = timedelta(seconds=1)


def read_time(text: str) -> datetime:
    """Return a point in time with its offset; ValueError for text that is no RFC 3339.

    A leap second is the first second of the next day; digits beyond microseconds are dropped.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("is not RFC 3339 with an offset from UTC")
    date, minute, second, fraction, offset = found.groups()
    is_leap = second == _LEAP_SECOND
    offset = "+00:00" if offset in "Zz" else offset
    time = datetime.fromisoformat(
        f"{date}T{minute}{'59' if is_leap else second}{fraction or ''}{offset}"
    )
    return _after_leap_second(time) if is_leap else time


def write_time(time: datetime) -> str:
    """Return a point in time that has an offset as RFC 3339, whose offsets are whole minutes."""
    offset = time.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        time = time.astimezone(UTC)
    return time.isoformat()


def _after_leap_second(before: datetime) -> datetime:
    """Return the second after this one, the last of a day in UTC: there alone they are put."""
    try:
        utc = before.astimezone(UTC)
        if (utc.hour, utc.minute) != (23, 59):
            raise ValueError("has a second 60 that is not at the end of a day in UTC")
        return before + _SECOND
    except OverflowError:  # the year 9999 ends
        return before
