"""Draws the diagrams of docs/architecture.md as SVG, from the descriptions below.

`make tables` writes them; a test fails while a picture differs from what this would write.
"""

from html import escape
from pathlib import Path
from typing import NamedTuple

IMAGES = Path(__file__).parents[1] / "docs/images"
_COLORS = {
    "kafka": "#fff3e0",
    "store": "#fce4ec",
    "poll": "#e3f2fd",
    "batch": "#e8f5e9",
    "other": "#ede7f6",
    "plain": "#fafafa",
}


class Box(NamedTuple):
    """A rectangle with lines of text; the first line is its name."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]
    color: str = "plain"


class Arrow(NamedTuple):
    """A line through points, with a head at its end and a label at one place."""

    points: tuple[tuple[int, int], ...]
    label: str = ""
    at: tuple[int, int] = (0, 0)
    dashed: bool = False


class Picture(NamedTuple):
    """One diagram."""

    title: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


RECORD = Picture(
    "Life of a record: polling thread, batch threads, delivery thread",
    960,
    420,
    (
        Box(10, 40, 120, 50, ("input topic",), "kafka"),
        Box(180, 20, 330, 190, ("polling thread",), "poll"),
        Box(195, 50, 90, 40, ("consume",)),
        Box(300, 50, 90, 40, ("decode",)),
        Box(405, 50, 90, 40, ("batcher",)),
        Box(195, 150, 150, 45, ("offsets", "tracked, finished")),
        Box(405, 150, 90, 45, ("commit",)),
        Box(560, 20, 390, 190, ("batch threads: one call processes one batch",), "batch"),
        Box(575, 50, 85, 40, ("predict",)),
        Box(670, 50, 85, 40, ("join",)),
        Box(765, 50, 85, 40, ("encode",)),
        Box(860, 50, 80, 40, ("publish",)),
        Box(575, 140, 180, 50, ("version", "one handle a batch")),
        Box(560, 270, 180, 50, ("Redis", "metadata by record id"), "store"),
        Box(790, 270, 160, 50, ("output topic,", "dead-letter topic"), "kafka"),
        Box(180, 270, 180, 50, ("delivery thread", "acknowledged: finished"), "other"),
    ),
    (
        Arrow(((130, 65), (195, 65)), "poll", (140, 58)),
        Arrow(((285, 70), (300, 70))),
        Arrow(((390, 70), (405, 70))),
        Arrow(((495, 70), (575, 70)), "take", (515, 63)),
        Arrow(((660, 70), (670, 70))),
        Arrow(((755, 70), (765, 70))),
        Arrow(((850, 70), (860, 70))),
        Arrow(((617, 140), (617, 90)), "handle", (622, 120)),
        Arrow(
            ((590, 90), (590, 110), (555, 110), (555, 240), (600, 240), (600, 270)),
            "MGET, sent before predicting",
            (375, 262),
            dashed=True,
        ),
        Arrow(((712, 270), (712, 240), (770, 240), (770, 110), (712, 110), (712, 90)), dashed=True),
        Arrow(((905, 90), (905, 270)), "results, dead letters", (785, 235)),
        Arrow(((870, 320), (870, 385), (345, 385), (345, 320)), "acknowledgements", (540, 378)),
        Arrow(((270, 270), (270, 195)), "finish", (275, 262)),
        Arrow(((240, 90), (240, 150)), "track", (245, 125)),
        Arrow(((345, 172), (405, 172)), "no gap", (350, 165)),
        Arrow(((450, 195), (450, 240), (70, 240), (70, 90)), "offsets", (75, 235)),
    ),
)

VERSION = Picture(
    "Life of a version: from a directory to an answer, and out of memory",
    960,
    300,
    (
        Box(10, 30, 140, 60, ("base path", "digits/1, digits/2"), "store"),
        Box(195, 30, 130, 60, ("Source", "complete versions"), "poll"),
        Box(370, 30, 140, 60, ("SourceAdapter", "the kind's loader"), "poll"),
        Box(555, 30, 190, 60, ("AspiredVersionsManager", "one policy's action"), "other"),
        Box(800, 30, 150, 60, ("ServableHandle", "a batch has one"), "batch"),
        Box(10, 200, 120, 50, ("START", "accepted")),
        Box(200, 200, 130, 50, ("LOADING", "retries, warm-up")),
        Box(400, 200, 140, 50, ("AVAILABLE", "lookups find it"), "batch"),
        Box(610, 200, 150, 50, ("UNLOADING", "handles close")),
        Box(830, 200, 120, 50, ("END", "with its error")),
    ),
    (
        Arrow(((150, 60), (195, 60))),
        Arrow(((325, 60), (370, 60)), "paths", (330, 53)),
        Arrow(((510, 60), (555, 60)), "loaders", (511, 53)),
        Arrow(((745, 60), (800, 60)), "lookup", (750, 53)),
        Arrow(((130, 225), (200, 225))),
        Arrow(((330, 225), (400, 225)), "loaded", (343, 218)),
        Arrow(((540, 225), (610, 225)), "replaced", (546, 218)),
        Arrow(((760, 225), (830, 225)), "unloaded", (766, 218)),
        Arrow(((265, 200), (265, 165), (890, 165), (890, 200)), "every try failed", (520, 158)),
        Arrow(((70, 250), (70, 285), (890, 285), (890, 250)), "no longer aspired", (420, 278)),
        Arrow(((650, 90), (650, 125), (70, 125), (70, 200)), "transitions", (330, 118)),
    ),
)

HARNESS = Picture(
    "States of a loader: every transition that there is",
    960,
    200,
    (
        Box(10, 30, 110, 40, ("new",)),
        Box(160, 30, 130, 40, ("load-requested",)),
        Box(330, 30, 130, 40, ("load-approved",)),
        Box(500, 30, 110, 40, ("loading",)),
        Box(650, 30, 110, 40, ("ready",), "batch"),
        Box(800, 30, 150, 40, ("unload-requested",), "batch"),
        Box(800, 120, 150, 40, ("quiescing",)),
        Box(650, 120, 110, 40, ("quiesced",)),
        Box(500, 120, 110, 40, ("unloading",)),
        Box(330, 120, 130, 40, ("disabled",)),
        Box(10, 120, 110, 40, ("error",), "store"),
    ),
    (
        Arrow(((120, 50), (160, 50))),
        Arrow(((290, 50), (330, 50))),
        Arrow(((460, 50), (500, 50))),
        Arrow(((610, 50), (650, 50))),
        Arrow(((760, 50), (800, 50))),
        Arrow(((875, 70), (875, 120))),
        Arrow(((800, 140), (760, 140))),
        Arrow(((650, 140), (610, 140))),
        Arrow(((500, 140), (460, 140))),
        Arrow(((555, 70), (555, 120)), "cancelled", (560, 100)),
        Arrow(((65, 70), (65, 120)), "from every state but error and disabled", (10, 185), True),
    ),
)

PICTURES = {
    "life_of_a_record.svg": RECORD,
    "life_of_a_version.svg": VERSION,
    "states_of_a_loader.svg": HARNESS,
}


def draw(picture: Picture) -> str:
    """Return a picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(picture.title)}</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#37474f"/></marker></defs>',
        f'<rect width="{picture.width}" height="{picture.height}" fill="#ffffff"/>',
        *map(_box, picture.boxes),
        *map(_arrow, picture.arrows),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(box: Box) -> str:
    # A large box is a frame: its text stands at its top.
    is_frame = box.height > 60
    start = box.y + 20 if is_frame else box.y + box.height // 2 + 5 - 8 * (len(box.lines) - 1)
    text = [
        f'<text x="{box.x + box.width // 2}" y="{start + 17 * number}" text-anchor="middle" '
        f'font-weight="{400 if number else 600}" fill="#263238">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    ]
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
        f'fill="{_COLORS[box.color]}" stroke="#607d8b"/>' + "".join(text)
    )


def _arrow(arrow: Arrow) -> str:
    path = "M" + " L".join(f"{x} {y}" for x, y in arrow.points)
    dash = ' stroke-dasharray="5 4"' if arrow.dashed else ""
    line = f'<path d="{path}" fill="none" stroke="#37474f" marker-end="url(#head)"{dash}/>'
    x, y = arrow.at
    label = f'<text x="{x}" y="{y}" font-size="11" fill="#455a64">{escape(arrow.label)}</text>'
    return line + (label if arrow.label else "")


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (IMAGES / name).write_text(draw(picture), encoding="utf-8")


if __name__ == "__main__":
    main()
