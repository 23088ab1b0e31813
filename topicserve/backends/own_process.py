"""Objects with threads, which a process that is forked from theirs cannot use.

Only the thread that forks lives on in the child: whatever waits for another one would wait for
ever, and both processes would read and write the same connections.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from topicserve.backends.errors import ForkedError

C = TypeVar("C", bound=type)


class _Process:
    """The id of this process, known without a system call."""

    id = os.getpid()

    @classmethod
    def look(cls) -> None:
        cls.id = os.getpid()


os.register_at_fork(after_in_child=_Process.look)


def this_process() -> int:
    """Return the id of this process; as cheap as it gets, for calls that are made for a record."""
    return _Process.id


def require_process(process_id: int, what: str) -> None:
    """Raise ForkedError unless this is the process in which something was made."""
    if _Process.id != process_id:
        raise ForkedError(
            f"this {what} was made in process {process_id}, before os.fork(): its threads are not "
            "in this process; make one in each process, after the fork"
        )


def own_process(what: str) -> Callable[[C], C]:
    """Have all public methods of a class raise ForkedError in a child of the object's process.

    Only `close` does nothing there: the parent still uses the connections.
    """

    def decorate(cls: C) -> C:
        made: Callable[..., None] = cls.__init__  # type: ignore[misc]  # the class's own, no instance's

        @functools.wraps(made)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            self._process_id = _Process.id
            made(self, *args, **kwargs)

        setattr(cls, "__init__", init)  # noqa: B010 - mypy allows no assignment
        for name, method in _public_methods(cls).items():
            setattr(cls, name, _closing(method) if name == "close" else _checked(method, what))
        return cls

    return decorate


def _public_methods(cls: type) -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__[:-1]):
        found |= {
            name: value
            for name, value in vars(base).items()
            if not name.startswith("_") and callable(value) and not isinstance(value, type)
        }
    return {
        name: value
        for name, value in found.items()
        if not isinstance(value, (classmethod, staticmethod))
    }


def _checked(method: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _Process.id != self._process_id:
            require_process(self._process_id, what)
        return method(self, *args, **kwargs)

    return checked


def _closing(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _Process.id != self._process_id:
            return None
        return method(self, *args, **kwargs)

    return close
