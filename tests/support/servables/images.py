"""Images as files, and the step that decodes them."""

from io import BytesIO
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from topicserve.servables.kinds.transform.transform import Transform, TransformDefinition

FORMATS = ("bmp", "gif", "jpeg", "png", "tiff", "webp")
RED, BLUE = (250, 10, 10), (10, 10, 250)


def decoder(**options: Any) -> Transform:
    """Return a transform of one step, from the string `image` to `pixels`."""
    step = {"step": "decode_image", "input": "image", "output": "pixels", "size": [2, 4]} | options
    definition = {
        "inputs": {"image": {"dtype": "string", "shape": []}},
        "steps": [step],
        "outputs": ["pixels"],
    }
    return Transform(msgspec.convert(definition, TransformDefinition))


def pixels_of(data: bytes, **options: Any) -> Any:
    """Return the pixels of one image."""
    return decoder(**options).predict({"image": np.array([data], object)})["pixels"][0]


def encoded(image: Image.Image, form: str = "png", **options: Any) -> bytes:
    """Return an image as a file has it."""
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """Return an image of 4 x 2 pixels, red on the left and blue on the right."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(BLUE, (2, 0, 4, 2))
    return image.convert(mode)
