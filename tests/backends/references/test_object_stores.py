"""File systems of fsspec, opened as fsspec opens them."""

import ftplib
import threading

import pytest

from tests.support.references.hosted_store import a_hosted_store
from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import AllowList, read_prefix
from topicserve.backends.references.errors import BodyNotFoundError, BodyStoreError
from topicserve.backends.references.object_stores import check_file_system, probe_file_system
from topicserve.backends.references.reading import ReadLimits
from topicserve.backends.references.stores import BodyStores
from topicserve.backends.references.writing import write_body

LIMIT_SECONDS = 60.0


def read(url: str, prefix: str = "hosted://one") -> bytes:
    """Read a body as a worker does."""
    stores = BodyStores([prefix])
    return stores.read(stores.locate(url), None, ReadLimits(1000, LIMIT_SECONDS))


def test_a_host_is_a_setting_and_no_part_of_the_path() -> None:
    """Names that a URL would cut off are read whole."""
    store = a_hosted_store()
    store.files = {("one", "/a/b"): b"1", ("one:21", "/a/b"): b"21", ("one", "/a/b?c#d"): b"whole"}

    assert read("hosted://one/a/b") == b"1"
    assert read("hosted://one/a/b%3Fc%23d") == b"whole"
    with pytest.raises(BodyNotFoundError):
        read("hosted://one/b")


def test_directories_of_a_host_are_made() -> None:
    """Where an object store has none to make."""
    store = a_hosted_store()

    write_body(AllowList(["hosted://one/large"]).locate("hosted://one/large/out/a"), b"body")

    assert store.files == {("one", "/large/out/a"): b"body"}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (EOFError("closed"), "closed"),
    ],
)
def test_a_server_that_is_away_is_no_fault_of_the_configuration(
    error: Exception, says: str
) -> None:
    """A worker that starts meanwhile reads other records; a try says what the client said."""

    def connect(_: str) -> None:
        raise error

    a_hosted_store(connect)

    assert says in (check_file_system(read_prefix("hosted://one/a")) or "")
    BodyStores(["hosted://one/a"]).prepare()
    with pytest.raises(BodyStoreError, match=says):
        read("hosted://one/a/b")
    with pytest.raises(BodyStoreError, match=says):
        probe_file_system(read_prefix("hosted://one/a"))


@pytest.mark.parametrize(
    "error", [ftplib.error_perm("530 Login incorrect"), TypeError("needs a user")]
)
def test_what_waiting_does_not_change_is_told_at_the_start(error: Exception) -> None:
    """With the URL, and what the file system says."""

    def connect(_: str) -> None:
        raise error

    a_hosted_store(connect)

    with pytest.raises(BackendConfigError, match=f"hosted://one/a.*{error}"):
        check_file_system(read_prefix("hosted://one/a"))


def test_a_file_system_that_was_opened_before_is_tried_again() -> None:
    """Whatever it raises later is no fault of the record."""

    def connect(_: str) -> None:
        raise ValueError("no JSON")

    a_hosted_store(connect)

    with pytest.raises(BodyStoreError, match="no JSON"):
        read("hosted://one/a/b")


def test_a_server_that_hangs_is_waited_for_no_longer_than_asked() -> None:
    """The call is left behind."""
    never = threading.Event()
    a_hosted_store(lambda _: never.wait(LIMIT_SECONDS))

    problem = check_file_system(read_prefix("hosted://one/a"), 0.05)
    never.set()

    assert problem == "hosted://one/a did not answer within 0.05 s"


def test_the_root_of_a_host_is_there() -> None:
    """As a bucket is."""
    a_hosted_store()

    assert probe_file_system(read_prefix("hosted://one/a")) == (
        "can be asked, and has nothing there yet"
    )
