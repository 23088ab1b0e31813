"""Makes the pictures of docs/status.md from a worker on embedded servers: idle, busy, in trouble.

`python -m tools.status_screenshots` takes some three minutes, and needs Chromium and Pillow.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from PIL import Image

from topicserve import STORED_ELSEWHERE, Record, RecordProducer
from topicserve.embedded.stack import Stack

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZE = (1200, 1180)
PHONE_PIXELS = 360
RECORDS_PER_SECOND = 400
TOPIC = "lookups"


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder, Stack() as stack:
        models = Path(folder) / "table"
        write_version(models, 1)
        with worker(stack, Path(folder), models) as address:
            connect = RecordProducer.connect
            with closing(connect(stack.bootstrap_servers, stack.redis_url, TOPIC)) as producer:
                publish(producer, 2)
                time.sleep(65)
                take(address, "status_quiet")
                publish(producer, 40)
                write_version(models, 2)
                publish(producer, 40)
                take(address, "status_busy")
                take(framed(address, Path(folder)), "status_phone", (PHONE_PIXELS * 2, 1180))
            write_version(models, 3, content='"unfinished')
            stack.redis.stop()
            with closing(connect(stack.bootstrap_servers, None, TOPIC)) as producer:
                publish(producer, 30, stores_metadata=False)
            take(address, "status_broken")


def write_version(models: Path, version: int, content: str | None = None) -> None:
    """Write a version of a table that maps "k7" to "k7@<version>"; it appears whole."""
    making = models.parent / f"making-{version}"
    making.mkdir(parents=True)
    lines = content or "".join(f"k{number},k{number}@{version}\n" for number in range(100))
    (making / "hashmap.csv").write_text(lines)
    models.mkdir(exist_ok=True)
    making.rename(models / str(version))


@contextmanager
def worker(stack: Stack, folder: Path, models: Path) -> Iterator[str]:
    """Run a worker while the block does, and tell its address."""
    config = folder / "worker.toml"
    config.write_text(f"""
        [kafka]
        bootstrap_servers = "{stack.bootstrap_servers}"
        client = "confluent"
        [metadata]
        redis_url = "{stack.redis_url}"
        [topics]
        input = ["{TOPIC}"]
        output = "{TOPIC}-results"
        create_partitions = 4
        [[servables]]
        name = "table"
        kind = "hashmap"
        base_path = "{models}"
    """)
    command = [sys.executable, "-m", "topicserve", "worker"]
    command += [f"--config={config}", "--worker-id=worker-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def publish(producer: RecordProducer, seconds: float, *, stores_metadata: bool = True) -> None:
    """Publish at a steady rate; one record in forty asks for what the table refuses."""
    started, number = time.monotonic(), 0
    while (passed := time.monotonic() - started) < seconds:
        while number < passed * RECORDS_PER_SECOND:
            number += 1
            instance = [1, 2] if number % 40 == 0 else f"k{number % 100}"
            metadata = {"number": number} if stores_metadata else STORED_ELSEWHERE
            producer.publish(Record(instance=instance, metadata=metadata))
        time.sleep(0.01)
    producer.flush()


def framed(address: str, folder: Path) -> str:
    """Return a page as phones show it, its upper half beside its lower one: no window is so narrow.

    It is a copy, since the policy of the page itself lets no one frame it.
    """
    with urllib.request.urlopen(f"{address}/?refresh=off") as answer:
        (folder / "page.html").write_bytes(answer.read())
    frame = (
        f'<div style="float:left;width:{PHONE_PIXELS}px;height:1180px;overflow:hidden">'
        f'<iframe src="page.html" width="{PHONE_PIXELS}" height="4000" '
        'style="border:0;margin-top:-{}px"></iframe></div>'
    )
    halves = "".join(frame.format(top) for top in (0, 1180))
    page = folder / "phone.html"
    page.write_text(f'<!DOCTYPE html><body style="margin:0">{halves}')
    return page.as_uri()


def take(address: str, name: str, size: tuple[int, int] = SIZE) -> None:
    """Make one picture, with few colours so that it stays small."""
    path = IMAGES / f"{name}.png"
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not here; apt-get install chromium")
    width, height = size
    url = address if address.startswith("file:") else f"{address}/?refresh=off"
    subprocess.run(
        [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--window-size={width},{height}", f"--screenshot={path}"),
            url,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128)
    small.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
