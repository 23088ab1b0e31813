import errno
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.errors import BackendError
from topicserve.backends.references.client_errors import object_error, path_error, write_error
from topicserve.backends.references.errors import (
    BodyNotFoundError,
    BodyStoreError,
    ReferenceRefusedError,
    StoreRefusedError,
)

URL = "store://bucket/a"


class ClientError(Exception):
    """What a store's client raises, with what it keeps of the answer."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("refused")
        self.__dict__.update(attributes)


def answered(status: int) -> Mapping[str, object]:
    """Return an answer as botocore keeps it."""
    return {"Error": {"Code": "What"}, "ResponseMetadata": {"HTTPStatusCode": status}}


def caused(error: Exception, cause: Exception) -> Exception:
    """Return an error that was raised for another one, as s3fs does."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.ETIMEDOUT])
def test_what_a_path_does_not_cause_may_pass(number: int) -> None:
    """A disk, a network or a limit of this process."""
    assert path_error("file:///a", OSError(number, "")) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("a"), BodyNotFoundError),
        (ClientError(status=404), BodyNotFoundError),
        (OSError(errno.ENAMETOOLONG, "too long"), BodyNotFoundError),
        (PermissionError("Access Denied"), ReferenceRefusedError),
        (OSError("Forbidden: bucket/a"), ReferenceRefusedError),
        (OSError(errno.EINVAL, "the region is wrong"), ReferenceRefusedError),
        (ClientError(status_code=403), ReferenceRefusedError),
        (ClientError(code=401), ReferenceRefusedError),
        (ClientError(response=answered(400)), ReferenceRefusedError),
        (
            caused(OSError(errno.EIO, "?"), ClientError(response=answered(403))),
            ReferenceRefusedError,
        ),
        (ClientError(code=429), BodyStoreError),
        (ClientError(status=503), BodyStoreError),
        (caused(OSError(errno.EBUSY, "?"), ClientError(response=answered(409))), BodyStoreError),
        (caused(TimeoutError(), ClientError(response=answered(400))), BodyStoreError),
        (ConnectionResetError(), BodyStoreError),
        (OSError(errno.EIO, "?"), BodyStoreError),
        (OSError("no route"), BodyStoreError),
        (ClientError(), BodyStoreError),
        (ClientError(code="NoSuch", response="text"), BodyStoreError),
    ],
)
def test_what_a_client_raises_for_an_object_has_its_kind(
    error: Exception, kind: type[BackendError]
) -> None:
    """Wherever it keeps what the store answered."""
    found = object_error(URL, error)

    assert type(found) is kind
    assert URL in str(found)


REFUSALS = [
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EACCES, errno.EPERM),
    *(errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EFBIG),
]
PASSING = [
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE),
    *(errno.EBUSY, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ENOMEM),
]


@pytest.mark.parametrize("number", REFUSALS)
def test_a_place_that_takes_no_file_refuses(number: int) -> None:
    """Someone must change it first."""
    assert type(write_error(OSError(number, ""))) is StoreRefusedError


@pytest.mark.parametrize("number", PASSING)
def test_a_place_that_takes_no_file_now_may_take_one_later(number: int) -> None:
    """A disk that is full is emptied, an overload passes."""
    assert type(write_error(OSError(number, ""))) is BodyStoreError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientError(status=403), StoreRefusedError),
        (ClientError(status=404), StoreRefusedError),
        (FileExistsError("a"), StoreRefusedError),
        (ClientError(status=500), BodyStoreError),
        (ClientError(status=408), BodyStoreError),
        (RuntimeError("what"), BodyStoreError),
    ],
)
def test_what_a_client_raises_for_a_write_has_its_kind(
    error: Exception, kind: type[BackendError]
) -> None:
    """As for a read, but that nothing there is no answer to a write."""
    assert type(write_error(error)) is kind


anything = st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.just({}), st.just([]))


@given(
    st.sampled_from([OSError, PermissionError, ValueError, ClientError]),
    st.dictionaries(
        st.sampled_from(["status", "status_code", "code", "response", "errno"]), anything
    ),
    st.recursive(anything, lambda one: st.dictionaries(st.just("ResponseMetadata"), one)),
)
def test_anything_that_a_client_raises_becomes_one_of_ours(
    kind: type[Exception], attributes: dict[str, object], response: object
) -> None:
    """Whatever its attributes hold."""
    error = kind()
    error.__dict__.update(attributes, response=response)

    assert isinstance(object_error(URL, error), BackendError)
    assert isinstance(write_error(error), BackendError)
