from pathlib import Path

import pytest

from tests.support.references.hosted_store import a_hosted_store
from tests.support.stages.logged import Logged
from topicserve.backends.errors import BackendConfigError
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.runtime.body_stores import prepare_stores


def refuse(_: str) -> None:
    """Stand for a server that is away."""
    raise ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("dataref", "key"),
    [
        (DatarefConfig(allow=("file:///a", "nosuch://a")), r"dataref\.allow\[1\]: nosuch://a"),
        (DatarefConfig(results="nosuch://a"), r"dataref\.results: nosuch://a"),
        (DatarefConfig(results="file:///dev/null/a"), r"dataref\.results: file:///dev/null/a"),
    ],
)
def test_a_store_that_can_never_be_used_is_named_by_its_key(
    dataref: DatarefConfig, key: str
) -> None:
    """At the start of the worker."""
    with pytest.raises(BackendConfigError, match=key):
        prepare_stores(dataref)


def test_a_store_that_does_not_answer_is_told_and_not_waited_for(
    tmp_path: Path, logged: Logged
) -> None:
    """Other records need not wait for it."""
    a_hosted_store(refuse)

    prepare_stores(
        DatarefConfig(allow=("hosted://one/a", f"file://{tmp_path}"), results="hosted://two/b")
    )

    assert [
        (one["store"], str(one["problem"]).partition(": ")[0])
        for one in logged("body_store_unavailable")
    ] == [
        ("hosted://one/a", "dataref.allow[0]"),
        ("hosted://two/b", "dataref.results"),
    ]
