"""What Pillow reads of a PNG otherwise than it is written (PNG, third edition).

It answers with rows of zeros where the compressed data end early in good order (7.2, 8.1), and
compares the colour that is transparent with pixels of another depth (11.3.1).
"""

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from topicserve.servables.core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image

_SIGNATURE_BYTES = 8
_DEPTH_AT, _KIND_AT = 24, 25
_GREY, _COLOURS = 0, 2
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3
# Of each pass of an interlaced image (Adam7): its first pixel and how far apart its pixels are,
# across and down.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
# Inflated it is a thousand times as much at most.
_PIECE_BYTES = 16 * 1024


def missing_of(png: bytes) -> str:
    """Return what a PNG lacks that Pillow decodes all the same: "" for nothing.

    It inflates the data once more, a piece at a time. Raises zlib.error for what cannot be.
    """
    chunks = dict(_chunks(png))
    header = chunks[b"IHDR"]
    if header[9] == _PALETTE and b"PLTE" not in chunks:
        return "its palette"
    left = _raw_bytes(header)
    inflate = zlib.decompressobj()
    for name, data in _chunks(png):
        if name == b"IDAT":
            for start in range(0, len(data), _PIECE_BYTES):
                left -= len(inflate.decompress(data[start : start + _PIECE_BYTES]))
                if left <= 0:
                    return ""
        elif inflate.unused_data or left < _raw_bytes(header):
            break  # what comes behind is not this image's
    return "some of its rows"


def correct_transparency(image: "Image", png: bytes) -> None:
    """Make the colour that is transparent one of the pixels that Pillow has decoded.

    Raises InvalidArgumentError for three colours of 16 bits: of their pixels 8 bits are left.
    """
    transparent = image.info.get("transparency")
    depth, kind = png[_DEPTH_AT], png[_KIND_AT]
    if transparent is None or kind not in (_GREY, _COLOURS):
        return
    most = (1 << depth) - 1
    if kind == _COLOURS:
        if depth > 8:
            raise InvalidArgumentError(
                "a PNG has a transparent colour of 3 x 16 bits; give it an alpha channel"
            )
        image.info["transparency"] = tuple(value & most for value in transparent)
    elif 1 < depth < 16:
        image.info["transparency"] = (transparent & most) * (255 // most)


def _chunks(png: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield each chunk's name and content, as far as they go."""
    view = memoryview(png)
    start = _SIGNATURE_BYTES
    while start + 8 <= len(view):
        size = int.from_bytes(view[start : start + 4])
        yield bytes(view[start + 4 : start + 8]), view[start + 8 : start + 8 + size]
        start += size + 12


def _raw_bytes(header: memoryview) -> int:
    """Return how many bytes the data have once they are inflated: a filter's byte a row."""
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    bits = header[8] * _CHANNELS[header[9]]
    total = 0
    for left, top, across, down in _ADAM7 if header[12] else ((0, 0, 1, 1),):
        columns = -(-(width - left) // across)
        rows = -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
