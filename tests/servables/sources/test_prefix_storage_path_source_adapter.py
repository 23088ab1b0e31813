import pytest

from tests.support.servables.streams import a_path
from topicserve.servables.sources.prefix_storage_path_source_adapter import (
    PrefixStoragePathSourceAdapter,
)


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("", "/bar", "/bar"),
        ("", "bar", "bar"),
        ("/baz", "/bar", "/baz/bar"),
        ("/baz/", "bar", "/baz/bar"),
        ("/baz/", "/bar", "/baz/bar"),
    ],
)
def test_the_prefix_and_the_path_are_joined_with_one_slash(
    prefix: str, path: str, expected: str
) -> None:
    """The id stays, and no prefix changes nothing."""
    adapter = PrefixStoragePathSourceAdapter(prefix)

    assert adapter.adapt_one_version(a_path("foo", 42, path)) == a_path("foo", 42, expected)
