import pytest

from topicserve.wire.limits import Limits
from topicserve.worker.stages.metadata_checks import MAX_METADATA_DEPTH, check_metadata


def test_metadata_of_the_largest_size_is_taken_and_no_larger() -> None:
    """The error names the key that allows more."""
    limits = Limits(max_metadata_bytes=8)
    check_metadata(b'{"a":12}', limits)

    with pytest.raises(ValueError, match=r"has 9 bytes; limits\.max_metadata_bytes allows 8"):
        check_metadata(b'{"a":123}', limits)


def test_metadata_of_the_deepest_nesting_is_taken_and_no_deeper() -> None:
    """Readers count the result around it, too."""
    inner = MAX_METADATA_DEPTH - 1
    check_metadata(b'{"a":' + b"[" * inner + b"]" * inner + b"}", Limits())

    with pytest.raises(ValueError, match=f"nested more than {MAX_METADATA_DEPTH} deep"):
        check_metadata(b'{"a":[' + b"[" * inner + b"]" * inner + b"]}", Limits())


@pytest.mark.parametrize("closed", [b"", b"]"])
@pytest.mark.parametrize("depth", [1_020, 1_030, 100_000])
def test_metadata_that_no_parser_reads_is_called_nested_too_deeply(
    depth: int, closed: bytes
) -> None:
    """Each parser names it otherwise, and one as a fault of memory."""
    content = b'{"a":' + b"[" * depth + closed * depth + b"}"

    with pytest.raises(ValueError, match=f"nested more than {MAX_METADATA_DEPTH} deep"):
        check_metadata(content, Limits())
