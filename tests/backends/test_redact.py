import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.redact import redact, redact_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://redis:6379/0", "redis://redis:6379/0"),
        ("rediss://user:hunter2@redis:6379/0", "rediss://redis:6379/0"),
        ("redis://:hun/ter@2@redis:6379/0", "redis://redis:6379/0"),
        ("redis://redis/0?password=hunter2", "redis://redis/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix://user:hunter2@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """Scheme, host, port and database say which server it is."""
    assert redact_url(url) == shown


@given(st.text(":/@?#[]%redis0 ", max_size=12), st.text(":/@?#[]%redis0 ", max_size=12))
def test_no_url_is_shown_with_its_password(before: str, after: str) -> None:
    """Wherever the @ or the port went wrong, a password behind user: is not shown."""
    assert SECRET not in redact_url(f"redis://{before}:{SECRET}{after}")


def test_secrets_are_taken_out_of_a_text() -> None:
    """An empty one takes nothing out."""
    assert redact("AUTH hunter2 hunter2", ("", SECRET)) == "AUTH *** ***"
