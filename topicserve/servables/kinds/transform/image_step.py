"""A step that decodes images, for models that take pixels.

What comes is not trusted: formats are named, sizes are looked at before anything is decoded, and
whatever the library raises is the fault of the one image. Pillow is imported at the first load.
"""

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from topicserve.errors import error_text
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import TensorSpec
from topicserve.servables.kinds.transform.png_data import correct_transparency, missing_of
from topicserve.servables.kinds.transform.step import FLOAT32, Array, OneColumnStep

if TYPE_CHECKING:
    from PIL.Image import Image

Side = Annotated[int, Meta(ge=1, le=4096)]
Format = Literal["bmp", "gif", "jpeg", "png", "tiff", "webp"]
Filter = Literal["nearest", "bilinear", "bicubic", "box", "lanczos"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What can be converted; 32-bit pixels cannot, as no one says what their white is.
_READABLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"})
_DEEP = "I;16"
# A progressive JPEG has about ten scans. Each goes over the whole image, and takes 20 bytes at
# least: a file of a megabyte could ask for hours of work.
MAX_SCANS = 64
_START_OF_SCAN = b"\xff\xda"
# Of a batch. Decoding as many pixels takes one or two seconds, whatever the format; of the others,
# which are those of the step's `size`, a batch has 128 MiB as float32.
PIXELS_OF_A_CALL = 100_000_000
VALUES_OF_A_CALL = 32 * 1024 * 1024
_ORIENTATION = 0x0112
_INVERSE = {6: 8, 8: 6}  # the other turns are their own


class DecodeImage(OneColumnStep, frozen=True, kw_only=True, tag="decode_image"):
    """Pixels of encoded images, resized; of an animation the first frame."""

    size: tuple[Side, Side]
    """Height and width."""
    channels: Literal[1, 3, 4] = 3
    dtype: Literal["uint8", "float32"] = "uint8"
    formats: tuple[Format, ...] = ("bmp", "gif", "jpeg", "png", "webp")
    filter: Filter = "bilinear"
    orient: bool = True
    max_pixels: Annotated[int, Meta(ge=1, le=150_000_000)] = 25_000_000

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Strings become pixels of a known shape."""
        (spec,) = specs
        if not spec.dtype.hasobject or spec.shape != ():
            raise InvalidArgumentError("takes one string a row: an encoded image")
        _pillow()
        # It warns of odd files, and Python remembers each text that it was warned with.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return TensorSpec(np.dtype(self.dtype), (*self.size, self.channels))

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return pixels from 0 to 255, or as floats from 0 to 1."""
        (column,) = columns
        pixels = np.empty((len(column), *self.size, self.channels), np.uint8)
        for row, data in enumerate(column):
            pixels[row] = self._decoded(data)
        if self.dtype == "uint8":
            return pixels
        floats = pixels.astype(FLOAT32)
        floats /= np.float32(255)
        return floats

    def row_costs(self, column: Array) -> NDArray[np.float64]:
        """Return what each image takes of a call, of the pixels that its header declares."""
        values = self.size[0] * self.size[1] * self.channels / VALUES_OF_A_CALL
        pixels = np.fromiter(map(self._declared_pixels, column), np.float64, len(column))
        return pixels / PIXELS_OF_A_CALL + values

    def _declared_pixels(self, data: bytes) -> int:
        """Return how many pixels will be decoded; 0 for what is refused before."""
        pillow = _pillow()
        try:
            with pillow.open(BytesIO(data), formats=self._known_formats) as image:
                width, height = image.size
        except Exception:  # `_decoded` tells what is wrong
            return 0
        count: int = width * height
        return count if count <= self.max_pixels else 0

    @property
    def _known_formats(self) -> Sequence[str]:
        return [name.upper() for name in self.formats]

    def _decoded(self, data: bytes) -> Array:
        pillow = _pillow()
        try:
            with pillow.open(BytesIO(data), formats=self._known_formats) as image:
                self._check(image, data)
                pixels = self._pixels(image, data)
                if image.format == "PNG" and _may_lack(image, data) and (lacks := missing_of(data)):
                    raise InvalidArgumentError(f"a PNG lacks {lacks}")
                return pixels
        except InvalidArgumentError:
            raise
        except pillow.UnidentifiedImageError:
            raise InvalidArgumentError(f"an image is none of {', '.join(self.formats)}") from None
        # Decoders of hostile files raise what they like, MemoryError included.
        except Exception as error:
            problem = error_text(error)
            raise InvalidArgumentError(f"an image cannot be decoded: {problem}") from None

    def _check(self, image: "Image", data: bytes) -> None:
        """Raise InvalidArgumentError for what would take too much to decode; none is yet."""
        width, height = image.size
        if width * height > self.max_pixels:
            raise InvalidArgumentError(
                f"an image has {width} x {height} pixels; max_pixels allows {self.max_pixels}"
            )
        if image.format in ("JPEG", "MPO") and data.count(_START_OF_SCAN) > MAX_SCANS:
            raise InvalidArgumentError(f"a JPEG has more than {MAX_SCANS} scans")
        if image.mode not in _READABLE and not image.mode.startswith(_DEEP):
            raise InvalidArgumentError(f"an image has pixels of the mode {image.mode}")

    def _pixels(self, image: "Image", data: bytes) -> Array:
        pillow = _pillow()
        turns = _load(image, upright=self.orient)
        if image.format == "PNG" and self.channels == len("RGBA"):
            correct_transparency(image, data)
        if image.mode.startswith(_DEEP):
            deep = np.asarray(image).astype(np.uint16)
            transparent = deep == image.info.get("transparency", -1)
            image = pillow.fromarray((deep >> 8).astype(np.uint8))
            if transparent.any():
                image = image.convert("LA")
                image.putalpha(pillow.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
        elif image.mode in ("P", "PA"):
            image = image.convert("RGBA")  # its transparency may be said in ways that others lack
        if image.mode != _MODES[self.channels]:
            image = image.convert(_MODES[self.channels])
        for turn in turns:
            image = image.transpose(turn)
        height, width = self.size
        if image.size != (width, height):
            image = image.resize((width, height), pillow.Resampling[self.filter.upper()])
        return np.asarray(image, np.uint8).reshape(height, width, self.channels)


def _load(image: "Image", *, upright: bool) -> Sequence[Any]:
    """Decode an image; return the turns that bring it upright, or as the file stores it.

    Raises what Pillow does for a damaged file, and only the first `load` of an image tells: a
    second one answers with whatever was decoded until then. So EXIF data, of which some formats
    look for more by loading the image, are read after it.
    """
    stored = 1
    if image.format == "TIFF":  # Pillow turns these when it loads them, and forgets the orientation
        stored = _known(image.getexif().get(_ORIENTATION))
    image.load()
    left = _orientation(image)
    if upright:
        return _turns(left)
    return _turns(_INVERSE.get(stored, stored)) if left != stored else ()


def _may_lack(image: "Image", data: bytes) -> bool:
    """Return whether a PNG that was decoded may lack what Pillow does without.

    It leaves rows that are not there at zero, and so the last one, unless lines are interlaced.
    """
    if image.info.get("interlace") or (image.mode == "P" and b"PLTE" not in data):
        return True
    width, height = image.size
    return not np.any(np.asarray(image.crop((0, height - 1, width, height))))


def _orientation(image: "Image") -> int:
    """Return what the EXIF data say, 1 where they say nothing that can be read."""
    try:
        return _known(image.getexif().get(_ORIENTATION))
    except Exception:
        return 1


def _known(found: object) -> int:
    # A rational number counts as well: Pillow compares, too.
    return next((known for known in range(2, 9) if known == found), 1)


def _turns(orientation: int) -> Sequence[Any]:
    """Return what brings an image upright (EXIF 2.3, tag 0x0112)."""
    turn = _pillow().Transpose
    turns = {
        2: [turn.FLIP_LEFT_RIGHT],
        3: [turn.ROTATE_180],
        4: [turn.FLIP_TOP_BOTTOM],
        5: [turn.TRANSPOSE],
        6: [turn.ROTATE_270],
        7: [turn.TRANSVERSE],
        8: [turn.ROTATE_90],
    }
    return turns.get(orientation, ())


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise InvalidArgumentError(
            f"needs Pillow: pip install 'topicserve[images]' ({error})"
        ) from None
    return Image
