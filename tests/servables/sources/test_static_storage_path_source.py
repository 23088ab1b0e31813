from tests.support.streams import Heard, a_path
from topicserve.servables.servable_id import ServableId
from topicserve.servables.source import connect_source_to_target
from topicserve.servables.sources.static_storage_path_source import StaticStoragePathSource
from topicserve.servables.storage_path import StoragePath


def test_connecting_says_the_one_path() -> None:
    """Once, with its id."""
    source = StaticStoragePathSource(ServableId("s", 42), StoragePath("/models/s/42"))
    target = Heard[StoragePath]()

    connect_source_to_target(source, target)

    assert target.calls == [("s", [a_path("s", 42, "/models/s/42")])]
