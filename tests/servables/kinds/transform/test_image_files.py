"""Image files, damaged ones too, are turned as their EXIF data say, and decoded or refused."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.support.servables.images import FORMATS, encoded, pixels_of
from topicserve.servables.core.errors import InvalidArgumentError

# What brings each orientation upright (EXIF 2.3, tag 0x0112), in numpy's words.
UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["png", "webp", "tiff", "compressed tiff", "tiff of two", "jpeg"])
def test_an_image_is_brought_upright_if_asked(form: str, orientation: int) -> None:
    """As its EXIF data say, and else the pixels are where the file has them, in each format."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    every: dict[str, dict[str, Any]] = {
        "webp": {"lossless": True},
        "compressed tiff": {"compression": "tiff_lzw"},
        "tiff of two": {"save_all": True, "append_images": [Image.new("RGB", (3, 3))]},
        "jpeg": {"quality": 100, "subsampling": 0},
    }
    shape = (4, 6, 3)
    stored = np.arange(72, dtype=np.uint8).reshape(shape) * 3
    if form == "jpeg":  # one colour for each corner keeps what is lost small
        stored = np.kron([[[250], [20]], [[90], [170]]], np.ones((8, 12, 3))).astype(np.uint8)
    kind = "tiff" if "tiff" in form else form
    data = encoded(Image.fromarray(stored), kind, exif=exif, **every.get(form, {}))

    for is_asked in (True, False):
        wanted = UPRIGHT[orientation](stored) if is_asked else stored
        found = pixels_of(data, size=list(wanted.shape[:2]), orient=is_asked, formats=[kind])
        assert np.abs(found.astype(int) - wanted).max() <= (4 if form == "jpeg" else 0)


def files_to_damage() -> Iterator[bytes]:
    """Yield images whose pixels take most of the file, upright and on their side."""
    noise = Image.effect_noise((24, 16), 90)
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in FORMATS:
        yield encoded(noise.convert("RGB"), form)
    for mode in ("L", "LA", "P", "RGBA"):
        yield encoded(noise.convert("RGB").convert(mode), "png")
    for form in ("png", "jpeg", "webp", "tiff"):
        yield encoded(noise.convert("RGB"), form, exif=exif)
    yield encoded(noise.convert("RGB"), "tiff", compression="tiff_lzw", exif=exif)
    yield encoded(noise, "jpeg", progressive=True)
    yield encoded(noise.convert("RGB"), "png", save_all=True, append_images=[noise])


FILES_TO_DAMAGE = list(files_to_damage())
FEW_PIXELS = 100_000


def pixels_by_pillow(data: bytes, *, orient: bool) -> Any:
    """Return an image's pixels as RGB where its first `load` raises nothing, and else what it does.

    None where the damage made another mode of it, or more pixels than are worth the time.
    """
    try:
        with Image.open(BytesIO(data), formats=[form.upper() for form in FORMATS]) as image:
            if image.width * image.height > FEW_PIXELS or image.mode not in ("L", "LA", "P", "RGB"):
                return None
            is_tiff = image.format == "TIFF"
            turned = image.getexif().get(0x0112, 1) if is_tiff else 1
            image.load()
            stored = image.copy()
    except Exception as error:
        return error
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:
        upright = stored
    if orient:
        return as_rgb(upright)
    if turned in UPRIGHT:  # the library has turned it already
        return UPRIGHT[{6: 8, 8: 6}.get(turned, turned)](as_rgb(stored))
    return as_rgb(stored)


def as_rgb(image: Image.Image) -> Any:
    """Return pixels without alpha; a palette's transparency may be kept beside it."""
    image = image.convert("RGBA") if image.mode == "P" else image
    return np.asarray(image.convert("RGB"))


@settings(max_examples=400)
@given(
    st.sampled_from(FILES_TO_DAMAGE),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=3
    ),
    st.one_of(st.none(), st.floats(0, 1)),
    st.booleans(),
)
def test_a_damaged_file_is_decoded_as_pillow_does_or_refused(
    data: bytes, changes: list[tuple[float, bytes]], cut: float | None, orient: bool
) -> None:
    """With the one error that rejects a record, and never with a part of its pixels."""
    spoilt = bytearray(data)
    for place, change in changes:
        start = int(place * len(spoilt))
        spoilt[start : start + len(change)] = change
    file = bytes(spoilt if cut is None else spoilt[: int(cut * len(spoilt))])
    wanted = pixels_by_pillow(file, orient=orient)
    size = list(wanted.shape[:2]) if isinstance(wanted, np.ndarray) else [2, 4]

    try:
        found = pixels_of(file, formats=FORMATS, size=size, orient=orient, max_pixels=FEW_PIXELS)
    except InvalidArgumentError:
        assert not isinstance(wanted, np.ndarray)
    else:
        assert wanted is None or np.array_equal(found, wanted)


@pytest.mark.parametrize("orient", [True, False])
def test_a_png_with_a_damaged_byte_is_refused(orient: bool) -> None:
    """Also where the library answers a second `load` with what was decoded until the damage."""
    data = bytearray(encoded(Image.effect_noise((64, 64), 90).convert("RGB"), compress_level=9))
    data[len(data) // 2] ^= 0xFF

    with pytest.raises(InvalidArgumentError, match="cannot be decoded"):
        pixels_of(bytes(data), orient=orient)


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def a_png(
    rows: int, *, depth: int, kind: int, interlaced: bool = False, palette: bool = True
) -> bytes:
    """Return a PNG of 9 x 8 pixels, of which so many rows are there, or all but the last pass."""
    width, height = 9, 8
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    sizes = [(width, 1)] * rows
    if interlaced:
        passes = [(2, 1), (1, 1), (3, 1), (2, 2), (5, 2), (4, 4), (9, 4)]
        sizes = [(columns, 1) for columns, count in passes for _ in range(count)]
        sizes = sizes if rows == height else sizes[:-1]
    data = b"".join(b"\0" + b"\x11" * ((columns * bits + 7) // 8) for columns, _ in sizes)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header)]
    if kind == 3 and palette:
        chunks.append((b"PLTE", bytes(range(96))))
    packed = zlib.compress(data)
    chunks += [(b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("depth", "kind"), [(8, 0), (1, 0), (16, 0), (8, 2), (4, 3), (8, 3), (8, 4), (8, 6)]
)
def test_a_png_without_all_of_its_rows_is_refused(
    depth: int, kind: int, *, interlaced: bool
) -> None:
    """Pillow, which is asked here too, answers with zeros in their place."""
    whole = a_png(8, depth=depth, kind=kind, interlaced=interlaced)
    assert pixels_of(whole, size=[8, 9]).shape == (8, 9, 3)

    for rows in (1, 7):
        short = a_png(rows, depth=depth, kind=kind, interlaced=interlaced)
        Image.open(BytesIO(short)).load()
        with pytest.raises(InvalidArgumentError, match="a PNG lacks some of its rows"):
            pixels_of(short, size=[8, 9])


def test_a_png_without_its_palette_is_refused() -> None:
    """Its pixels stand for no colours; Pillow makes all of them black."""
    with pytest.raises(InvalidArgumentError, match="a PNG lacks its palette"):
        pixels_of(a_png(8, depth=8, kind=3, palette=False), size=[8, 9])


def test_a_png_that_ends_in_black_is_decoded() -> None:
    """Only such images are looked at once more."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        black = encoded(Image.new(mode, (700, 500)), "png")
        assert not pixels_of(black, size=[5, 7]).any()


def a_transparent_png(depth: int, channels: int, values: Sequence[int], transparent: int) -> bytes:
    """Return a PNG of one row, whose pixels are these in each channel; one of them is no more."""
    bits = "".join(f"{value:0{depth}b}" * channels for value in values)
    bits += "0" * (-len(bits) % 8)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8)
    header = struct.pack(">IIBBBBB", len(values), 1, depth, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", transparent) * channels)]
    chunks += [(b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@given(st.data())
@pytest.mark.parametrize(("depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3)])
def test_the_transparent_colour_of_a_png_is_that_of_its_pixels(
    depth: int, channels: int, data: st.DataObject
) -> None:
    """Pillow, which is used here too, compares it with pixels that are of 8 bits by then."""
    values = data.draw(st.lists(st.integers(0, 2**depth - 1), min_size=1, max_size=9))
    transparent = data.draw(st.sampled_from(values) | st.integers(0, 2**depth - 1))
    png = a_transparent_png(depth, channels, values, transparent)

    pixels = pixels_of(png, size=[1, len(values)], channels=4)

    alphas = [0 if value == transparent else 255 for value in values]
    greys = [value * 255 // (2**depth - 1) if depth < 16 else value >> 8 for value in values]
    assert pixels[0].tolist() == [[g, g, g, a] for g, a in zip(greys, alphas, strict=True)]
    assert pixels_of(png, size=[1, len(values)])[0].tolist() == [[grey] * 3 for grey in greys]


def test_a_transparent_colour_of_which_no_pixel_is_known_is_refused() -> None:
    """Pillow keeps 8 bits of such pixels; without alpha they are all that is wanted."""
    png = a_transparent_png(16, 3, [0x1234], 0x1234)

    with pytest.raises(InvalidArgumentError, match="give it an alpha channel"):
        pixels_of(png, size=[1, 1], channels=4)
    assert pixels_of(png, size=[1, 1]).tolist() == [[[0x12] * 3]]
