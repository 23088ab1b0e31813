"""PredictRequests of a layout that was seen before.

The first requests of a layout are read by protobuf, and what they say beside their numbers is
remembered. Those that follow are compared with it, and their numbers are read when their batch is
built, for all of it at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.wire.bodies.asked import Asked
from topicserve.wire.headers import ServableSpec
from topicserve.wire.tensor_layouts.layout import Layout, layout_of

# What is joined at once: it stays in the processor's cache.
_CHUNK_BYTES = 256 * 1024
_MAX_SIZES, _MAX_LAYOUTS_OF_A_SIZE = 64, 4
_MAX_SIZES_NOTED = 1024


class RequestLayout:
    """What requests of one layout have in common. Any thread may use it."""

    def __init__(
        self, layout: Layout, asked: Asked, columns: Mapping[str, NDArray[Any]], uid: str
    ) -> None:
        self.asked = asked
        self.fits = layout.fits
        self._size = layout.size
        self._columns = {name: (column.dtype, column.shape) for name, column in columns.items()}
        self._places = {place.name: slice(*place[1:]) for place in layout.places}
        self._uid = self._places.get(uid)
        self._uid_name = uid
        self._targets: tuple[ServableSpec | None, ServableSpec] = (None, ServableSpec())

    def target(self, headers: ServableSpec) -> ServableSpec:
        """Return the same as `Asked.target`; the last answer is remembered."""
        given, target = self._targets
        if given is not headers:
            target = self.asked.target(headers)
            self._targets = headers, target
        return target

    def uid(self, message: bytes) -> bytes | None:
        """Return the string that may be the record id, where there is one."""
        return None if self._uid is None else message[self._uid]

    def read(self, message: bytes) -> dict[str, NDArray[Any]]:
        """Return a message's tensors, which share its memory."""
        return {name: self._read_one(message, name) for name in self._columns}

    def _read_one(self, message: bytes, name: str) -> NDArray[Any]:
        dtype, shape = self._columns[name]
        place = self._places[name]
        if dtype.hasobject:
            array = np.empty(shape, object)
            array[...] = message[place]
            return array
        count = (place.stop - place.start) // dtype.itemsize
        return np.frombuffer(message, dtype, count, place.start).reshape(shape)

    def read_all(self, messages: Sequence[bytes]) -> dict[str, NDArray[Any]] | None:
        """Return the tensors of many messages, one after the other along their first dimension.

        The arrays are new and may be written to. Without the string that may be the record id;
        None where a tensor has no dimension.
        """
        names = [name for name in self._columns if name != self._uid_name]
        if not all(self._columns[name][1] for name in names):
            return None
        places = {name: self._places[name] for name in names}
        octets = {
            name: np.empty((len(messages), place.stop - place.start), np.uint8)
            for name, place in places.items()
        }
        step = max(_CHUNK_BYTES // self._size, 1)
        for start in range(0, len(messages), step):
            part = messages[start : start + step]
            joined = part[0] if len(part) == 1 else b"".join(part)
            rows = np.frombuffer(joined, np.uint8).reshape(len(part), self._size)
            for name, place in places.items():
                octets[name][start : start + step] = rows[:, place]
        return {name: self._as_tensor(name, octets[name]) for name in names}

    def _as_tensor(self, name: str, octets: NDArray[np.uint8]) -> NDArray[Any]:
        dtype, shape = self._columns[name]
        return octets.view(dtype).reshape(len(octets) * shape[0], *shape[1:])


class RequestLayouts:
    """The layouts of the requests seen so far, within bounds. One thread uses it at a time."""

    def __init__(self) -> None:
        self._layouts: dict[int, list[RequestLayout]] = {}
        self._misses: dict[int, int] = {}

    def find(self, message: bytes) -> RequestLayout | None:
        """Return the layout of a message, None where it must be read by protobuf."""
        for layout in self._layouts.get(len(message), ()):
            if layout.fits(message):
                return layout
        return None

    def note(self, message: bytes, asked: Asked, columns: Mapping[str, Any], uid: str) -> None:
        """Note a message that had no layout, and remember its own if that seems worth the effort.

        Of the messages of one size that had none since the last layout, the second is looked at,
        the fourth, the eighth, and so on: most that have none will never have one.
        """
        size = len(message)
        if size not in self._misses and len(self._misses) >= _MAX_SIZES_NOTED:
            self._misses.clear()
        misses = self._misses[size] = self._misses.get(size, 0) + 1
        if misses == 1 or misses & (misses - 1):
            return
        layout = layout_of(message, columns, uid)
        if layout is not None:
            self._misses[size] = 0
            self._add(size, RequestLayout(layout, asked, columns, uid))

    def _add(self, size: int, layout: RequestLayout) -> None:
        if size not in self._layouts and len(self._layouts) >= _MAX_SIZES:
            self._layouts.clear()
        of_size = self._layouts.setdefault(size, [])
        of_size.insert(0, layout)
        del of_size[_MAX_LAYOUTS_OF_A_SIZE:]
