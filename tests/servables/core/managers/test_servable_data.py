import pytest

from topicserve.servables.core.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnknownError,
    as_servable_error,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath

ID = ServableId("a", 1)


def test_data_with_a_payload_has_no_error() -> None:
    """The id and the payload come back."""
    data = ServableData(ID, "payload")

    assert (data.id, data.error, data.payload) == (ID, None, "payload")


def test_data_that_failed_has_the_error() -> None:
    """The id and the error come back."""
    error = NotFoundError("gone")

    data: ServableData[str] = ServableData.failed(ID, error)

    assert (data.id, data.error) == (ID, error)


def test_the_payload_of_what_failed_is_a_mistake_to_ask_for() -> None:
    """The mistake names the version, and the error that it comes from."""
    data: ServableData[str] = ServableData.failed(ID, NotFoundError("gone"))

    with pytest.raises(InternalError, match=r"version: 1.*gone") as raised:
        _ = data.payload

    assert isinstance(raised.value.__cause__, NotFoundError)


def test_storage_paths_are_equal_in_id_and_path() -> None:
    """Another path, another id or an error makes the difference."""
    here = ServableData(ID, StoragePath("/here"))

    assert here == ServableData(ID, StoragePath("/here"))
    assert here != ServableData(ID, StoragePath("/there"))
    assert here != ServableData(ServableId("a", 2), StoragePath("/here"))
    assert here != ServableData.failed(ID, NotFoundError("gone"))


def test_errors_are_equal_in_code_and_text() -> None:
    """Two polls that meet the same error have met nothing new."""
    first: ServableData[str] = ServableData.failed(ID, NotFoundError("gone"))

    assert first == ServableData.failed(ID, NotFoundError("gone"))
    assert first != ServableData.failed(ID, NotFoundError("missing"))
    assert first != ServableData.failed(ID, InvalidArgumentError("gone"))


def test_whatever_a_loader_raises_becomes_a_servable_error() -> None:
    """Its own errors pass, running out of memory is being out of room, the rest is unknown."""
    own = NotFoundError("gone")

    assert as_servable_error(own) is own
    assert isinstance(as_servable_error(MemoryError()), ResourceExhaustedError)
    translated = as_servable_error(KeyError("x"))
    assert isinstance(translated, UnknownError)
    assert str(translated) == "KeyError: 'x'"
