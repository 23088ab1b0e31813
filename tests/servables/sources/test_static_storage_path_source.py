from tests.support.servables.streams import Heard, a_path
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.sources.static_storage_path_source import StaticStoragePathSource


def test_connecting_says_the_one_path() -> None:
    """Once, with its id."""
    source = StaticStoragePathSource(ServableId("s", 42), StoragePath("/models/s/42"))
    target = Heard[StoragePath]()

    connect_source_to_target(source, target)

    assert target.calls == [("s", [a_path("s", 42, "/models/s/42")])]
