"""Images become pixels, and whatever is none is the fault of its record alone."""

import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.support.servables.images import BLUE, FORMATS, RED, decoder, encoded, halves, pixels_of
from tests.support.stages.poison import Line, good, message_of, reason_of
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.transform.image_step import MAX_SCANS
from topicserve.servables.kinds.transform.transform import Transform, TransformDefinition
from topicserve.wire.dead_letter import Reason


def is_near(pixels: Any, tolerance: int = 40) -> bool:
    """Return whether these are the two halves, as far as a lossy format keeps them."""
    wanted = np.array([[RED, RED, BLUE, BLUE]] * 2)
    return bool((np.abs(pixels.astype(int)[:, [0, 3]] - wanted[:, [0, 3]]) <= tolerance).all())


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_decoded(form: str) -> None:
    """Of those that the step names."""
    found = pixels_of(
        encoded(halves(), form, **({"quality": 95} if form == "webp" else {})), formats=[form]
    )

    assert (found.shape, found.dtype) == ((2, 4, 3), np.uint8)
    assert is_near(found, 90 if form in ("jpeg", "webp") else 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_mode_has_the_channels_that_are_asked_for(mode: str, channels: int) -> None:
    """Gray, colours, colours with alpha."""
    grey = Image.fromarray(np.full((2, 4), 255 * 256, np.uint16))
    image = grey if mode == "I;16" else Image.new("L", (4, 2), 255).convert("RGB").convert(mode)
    form = "tiff" if mode in ("CMYK", "YCbCr") else "png"

    found = pixels_of(encoded(image, form), channels=channels, formats=[form])

    assert found.shape == (2, 4, channels)
    assert found.min() >= 254


def test_floats_go_from_0_to_1() -> None:
    """As in tf.image.convert_image_dtype."""
    found = pixels_of(encoded(Image.new("L", (1, 1), 255)), dtype="float32", channels=1)

    assert found.dtype == np.float32
    assert found.tolist() == [[[1.0]] * 4] * 2


def test_an_animation_is_its_first_frame() -> None:
    """The others are not looked at."""
    frames = [Image.new("RGB", (4, 2), colour) for colour in (RED, BLUE, BLUE)]

    for form in ("gif", "png", "webp"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert np.abs(pixels_of(data).astype(int) - RED).max() <= 8


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_an_orientation_that_there_is_not_turns_nothing(orientation: int) -> None:
    """The pixels are where the file has them."""
    exif = Image.Exif()
    exif[0x0112] = orientation

    for form in ("png", "tiff"):
        assert is_near(pixels_of(encoded(halves(), form, exif=exif), formats=[form]), 0)


def test_what_stands_on_its_side_is_turned_before_it_is_resized() -> None:
    """Height and width change places: red comes on top of blue."""
    exif = Image.Exif()
    exif[0x0112] = 6  # its left side is at the top

    found = pixels_of(encoded(halves(), exif=exif), size=[4, 2])

    assert found[0].tolist() == [list(RED)] * 2
    assert found[3].tolist() == [list(BLUE)] * 2


def test_exif_data_that_cannot_be_read_say_nothing() -> None:
    """The image itself may be fine. Files do not make the library warn: texts would add up."""
    data = encoded(halves(), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = pixels_of(data)

    assert is_near(found, 0)
    assert warned == []


def a_png_of(width: int, height: int) -> bytes:
    """Return a PNG that says that it is that large, and has hardly any data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def a_jpeg_of_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan is there that often."""
    data = encoded(Image.new("RGB", (64, 64)), "jpeg", progressive=True)
    start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:start] + data[start:end] * count + data[end:]


def a_png_with_text(size: int) -> bytes:
    """Return a PNG with a text that unfolds to that size."""
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "a" * size, zip=True)
    return encoded(halves(), pnginfo=info)


def hostile() -> Iterator[tuple[str, bytes, str]]:
    """Yield a name, a file, and a part of what its dead letter says."""
    none = "an image is none of bmp, gif, jpeg, png, webp"
    yield "nothing", b"", none
    yield "text", b'{"instance": 1}', none
    yield "zeros", bytes(1000), none
    yield "a program", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", none
    yield "a drawing", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', none
    yield "a format that is not named", encoded(halves(), "tiff"), none
    yield "an icon", encoded(halves(), "ico"), none
    yield "a huge PNG", a_png_of(100_000, 100_000), "an image"
    yield "a large PNG", a_png_of(8_000, 8_000), "max_pixels allows 25000000"
    yield (
        "a huge GIF",
        b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x00",
        "an image",
    )
    yield "an empty PNG", a_png_of(0, 0), "an image"
    yield "a PNG without data", a_png_of(4, 2), "cannot be decoded"
    yield "a PNG with a long text", a_png_with_text(70_000_000), "cannot be decoded"
    yield "many scans", a_jpeg_of_scans(1000), f"a JPEG has more than {MAX_SCANS} scans"
    yield "floats", encoded(Image.new("F", (2, 2)), "tiff"), none
    for form in ("bmp", "gif", "jpeg", "png", "webp"):
        data = encoded(Image.effect_noise((40, 40), 90).convert("RGB"), form)
        yield f"half a {form}", data[: len(data) // 2], "an image"
        yield f"the head of a {form}", data[:30], "an image"


HOSTILE = list(hostile())


@pytest.mark.parametrize(
    ("data", "problem"), [one[1:] for one in HOSTILE], ids=[one[0] for one in HOSTILE]
)
def test_a_hostile_image_rejects_its_record_alone(data: bytes, problem: str) -> None:
    """It says what is wrong, and those beside it are answered."""
    line = Line(decoder())
    fine = encoded(halves())
    records = [
        good(offset, value=value, headers=[("content-type", b"image/png")])
        for offset, value in enumerate((fine, data, fine))
    ]

    outcomes = line.run(*records)

    assert [reason_of(outcomes[offset]) for offset in (0, 2)] == [None, None]
    assert reason_of(outcomes[1]) is Reason.PREDICT_FAILED
    assert "steps[0] (decode_image)" in message_of(outcomes[1])
    assert problem in message_of(outcomes[1])


@pytest.mark.parametrize(
    ("spec", "options", "problem"),
    [
        ({"dtype": "float32", "shape": []}, {}, "takes one string a row"),
        ({"dtype": "string", "shape": [2]}, {}, "takes one string a row"),
        ({"dtype": "string", "shape": []}, {"size": [0, 4]}, "size"),
        ({"dtype": "string", "shape": []}, {"channels": 2}, "channels"),
        ({"dtype": "string", "shape": []}, {"formats": ["eps"]}, "formats"),
        ({"dtype": "string", "shape": []}, {"max_pixels": 10**9}, "max_pixels"),
    ],
)
def test_a_step_that_cannot_work_is_refused_at_load(
    spec: dict[str, Any], options: dict[str, Any], problem: str
) -> None:
    """Before any image comes."""
    step = {"step": "decode_image", "input": "image", "size": [2, 4]} | options
    definition = {"inputs": {"image": spec}, "steps": [step], "outputs": ["image"]}

    with pytest.raises((InvalidArgumentError, msgspec.ValidationError), match=problem):
        Transform(msgspec.convert(definition, TransformDefinition))


def test_without_pillow_a_version_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is loaded; other steps need nothing."""
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(
        InvalidArgumentError, match=r"needs Pillow: pip install 'topicserve\[images\]'"
    ):
        decoder()
