from collections.abc import Callable
from typing import cast

import pytest

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.simple_loader import (
    SimpleLoader,
    SimpleLoaderSourceAdapter,
    SimpleLoaderWithId,
    SimpleLoaderWithIdSourceAdapter,
)
from topicserve.servables.core.storage_path import StoragePath

ID = ServableId("a", 3)


class Model:
    """Notes whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def both(creator: Callable[[], Model]) -> list[Loader]:
    """Return a loader of either kind of creator."""
    return [SimpleLoader(creator), SimpleLoaderWithId(lambda _: creator())]


def test_the_servable_lives_from_load_to_unload() -> None:
    """Created in the load, closed in the unload, and not there before or after."""
    for loader in both(Model):
        assert loader.servable is None

        loader.load_with_id(ID)
        model: Model = cast("Model", loader.servable)
        was_closed = model.is_closed
        loader.unload()

        assert not was_closed
        assert model.is_closed
        assert loader.servable is None


def test_what_has_no_close_is_just_let_go() -> None:
    """A plain value needs no unloading."""
    loader = SimpleLoader(lambda: "text")
    loader.load()

    loader.unload()

    assert loader.servable is None


def test_an_unloader_takes_the_place_of_close() -> None:
    """It is given the servable; also when it fails, the servable is let go."""
    model, unloaded = Model(), []

    def unload(servable: Model) -> None:
        unloaded.append(servable)
        raise OSError("busy")

    loader = SimpleLoader(lambda: model, unloader=unload)
    loader.load()

    with pytest.raises(OSError, match="busy"):
        loader.unload()

    assert unloaded == [model]
    assert not model.is_closed
    assert loader.servable is None


def test_the_estimate_is_made_once() -> None:
    """The same before and after the load."""
    answers = iter([main_ram(10), main_ram(99)])
    loader = SimpleLoader(Model, lambda: next(answers))

    before = loader.estimate_resources()
    loader.load()

    assert before == loader.estimate_resources() == main_ram(10)


def test_the_estimate_after_the_load_replaces_the_first() -> None:
    """Once, too."""
    after = iter([main_ram(5), main_ram(99)])
    loader = SimpleLoader(Model, lambda: main_ram(10), lambda: next(after))

    before = loader.estimate_resources()
    loader.load()

    assert before == main_ram(10)
    assert loader.estimate_resources() == loader.estimate_resources() == main_ram(5)


def test_the_creators_error_comes_back_from_the_load() -> None:
    """Code and text; there is no servable then."""

    def fail() -> Model:
        raise InvalidArgumentError("No way!")

    for loader in both(fail):
        with pytest.raises(InvalidArgumentError, match="No way!"):
            loader.load_with_id(ID)
        assert loader.servable is None


def test_a_plain_creator_can_be_loaded_either_way() -> None:
    """With or without saying which version it is."""
    plain, told = SimpleLoader(Model), SimpleLoader(Model)

    plain.load()
    told.load_with_id(ID)

    assert isinstance(plain.servable, Model)
    assert isinstance(told.servable, Model)


def test_a_creator_that_takes_the_id_must_be_given_it() -> None:
    """It sees the id, and refuses a load without."""
    loader = SimpleLoaderWithId(lambda servable_id: f"servable {servable_id.version}")
    with pytest.raises(FailedPreconditionError, match="must be told which version"):
        loader.load()

    loader.load_with_id(ID)

    assert loader.servable == "servable 3"


def test_the_adapter_makes_loaders_of_paths() -> None:
    """Estimator and creator are given the path."""
    asked: list[StoragePath] = []

    def estimate(path: StoragePath) -> ResourceAllocation:
        asked.append(path)
        return main_ram(7)

    adapter = SimpleLoaderSourceAdapter(lambda path: f"from {path}", estimate)
    data = adapter.adapt_one_version(ServableData(ID, StoragePath("/models/3")))

    assert data.id == ID
    assert data.payload.estimate_resources() == main_ram(7)
    data.payload.load_with_id(ID)
    assert data.payload.servable == "from /models/3"
    assert asked == ["/models/3"]


def test_an_adapters_creator_may_want_the_id() -> None:
    """It comes after the path."""
    adapter = SimpleLoaderWithIdSourceAdapter(
        lambda path, servable_id: f"{servable_id.version}@{path}"
    )
    data = adapter.adapt_one_version(ServableData(ID, StoragePath("/models/3")))

    data.payload.load_with_id(ID)

    assert data.payload.servable == "3@/models/3"
    assert data.payload.estimate_resources() == {}


def test_loaders_outlive_their_adapter() -> None:
    """Detached and gone, it is not needed any more."""
    adapter = SimpleLoaderSourceAdapter(lambda _: Model())
    data = adapter.adapt_one_version(ServableData(ID, StoragePath("/models/3")))
    adapter.detach()
    del adapter

    data.payload.load_with_id(ID)

    assert isinstance(data.payload.servable, Model)


def test_the_adapter_passes_errors_on() -> None:
    """They have no path to load from."""
    adapter = SimpleLoaderSourceAdapter(lambda _: Model())
    error = NotFoundError("gone")

    data = adapter.adapt_one_version(ServableData.failed(ID, error))

    assert data.error is error
