import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.errors import TopicserveError
from topicserve.redact import redact, redact_address, redact_url, redact_urls, secrets_of

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


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/models/digits", "/models/digits"),
        ("/models/a:b@2", "/models/a:b@2"),
        ("s3://bucket/models@prod/1", "s3://bucket/models@prod/1"),
        ("hdfs://name:9000/models", "hdfs://name:9000/models"),
        ("s3://key:hunter2@bucket/a", "s3://***@bucket/a"),
        ("s3://key:hun/ter2@bucket/a", "s3://***@bucket/a"),
        ("https://hunter2@host/a", "https://***@host/a"),
        ("https://host/a?sig=hunter2", "https://host/a?***"),
        ("https://host/a#token=hunter2", "https://host/a?***"),
        ("https://host/a?sig=x:y@hunter2", "https://***"),
        ("user:hunter2@serving:8500", "***@serving:8500"),
        ("serving:8500", "serving:8500"),
        ("dns:///serving:8500", "dns:///serving:8500"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    """What says where it is stays, as far as it can be told from a password."""
    assert redact_address(address) == shown


ODD = st.text(":/@?#[]%&= ab", max_size=8)


@given(before=ODD, after=ODD, host=st.text("host.:0/", max_size=8))
def test_no_address_is_shown_with_its_password(before: str, after: str, host: str) -> None:
    """Whatever characters the password has beside it: an @ ends it."""
    assert SECRET not in redact_address(f"s3://user:{before}{SECRET}{after}@{host}")


@given(query=ODD, path=st.text("ab/@:", max_size=8))
def test_no_address_is_shown_with_its_query(query: str, path: str) -> None:
    """Signatures and tokens are there."""
    assert SECRET not in redact_address(f"https://host/{path}?{query}={SECRET}")


@given(
    password=st.text("ab:/@?#%&=", max_size=8),
    before=st.text("ab :/'(", max_size=8),
    after=st.text("ab :/').,", max_size=8),
)
def test_no_error_has_the_secrets_of_a_url(password: str, before: str, after: str) -> None:
    """Wherever in its text the URL stands: errors go into logs, pages and dead letters."""
    url = f"s3://user:{password}{SECRET}@bucket/models?sig={SECRET}"

    assert SECRET not in str(TopicserveError(f"{before} {url}{after}"))


def test_what_is_behind_a_url_belongs_to_the_text() -> None:
    """However often it is looked at: errors are made of errors."""
    text = "base path s3://key:hunter2@bucket/a?sig=hunter2: refused ('s3://b/a#x'), try again"

    once = redact_urls(text)

    assert once == "base path s3://***@bucket/a?***: refused ('s3://b/a?***'), try again"
    assert redact_urls(once) == once


def test_a_text_without_a_url_stays_as_it_is() -> None:
    """Times, ratios and addresses of mail are none."""
    text = "at 12:30, 3:1, me@home and a//b"

    assert redact_urls(text) == text


def test_the_parts_that_are_secret_are_told_for_texts_that_name_them_alone() -> None:
    """A library's error may name the user, or the query, without the URL around it."""
    url = "s3://key:hunter2@bucket/a?sig=abc"

    found = redact("refused for key:hunter2 (hunter2), sig=abc", secrets_of(url))

    assert found == "refused for *** (***), ***"
    assert secrets_of("s3://bucket/a") == ()


def test_the_work_is_linear_in_the_text() -> None:
    """A text of a megabyte that looks like the beginning of a URL is no trouble."""
    text = "a" * 1_000_000 + " ://"

    assert redact_urls(text) == text
