import io
from pathlib import Path

import numpy as np
from matplotlib.image import imread
from rich.console import Console

from tests.support.stages.records import an_id
from tests.support.traffic.demo_results import METADATA, SURE_OF_SEVEN, a_result
from topicserve.demo.digits import Digits
from topicserve.demo.ledger import DemoLedger
from topicserve.demo.report import SAMPLES_PER_VERSION, draw, samples, table
from topicserve.demo.summary import summarize

ROWS = 30
DIGITS = Digits(np.zeros((ROWS, 64), np.float32), np.full(ROWS, 7))


def a_full_ledger(versions: int = 2) -> DemoLedger:
    """Return a ledger in which each version answered each row; version 1 mistakes row 20."""
    sure = np.repeat(SURE_OF_SEVEN, ROWS, axis=0)
    ledger = DemoLedger({version + 1: sure for version in range(versions)})
    for number in range(ROWS * versions):
        version, row = number // ROWS + 1, number % ROWS
        metadata = METADATA | {"row": row}
        if (version, row) == (1, 20):
            metadata["label"] = 3
        ledger.publish(an_id(number), metadata)
        ledger.read(a_result(number, version=version, metadata=metadata), read_at=100.1)
    return ledger


def test_the_table_says_what_came_of_it() -> None:
    """Lost, duplicates, versions, workers, accuracy and latency, in words and numbers."""
    summary = summarize(a_full_ledger(), DIGITS, 0, killed_at=200)
    console = Console(file=io.StringIO(), record=True, width=100)

    console.print(table(summary, peak_memory_bytes=700 * 2**20, seconds=61.2))

    text = console.export_text()
    for expected in ("60", "lost", "results of version 2", "results of worker-1", "96.7%"):
        assert expected in text
    assert "100 ms" in text
    assert "700 MiB" in text


def test_samples_show_both_versions_on_the_same_images() -> None:
    """An image that one version got wrong comes first."""
    chosen = samples(a_full_ledger())

    first_line, second_line = chosen[:6], chosen[6:12]
    assert {answer.version for answer in first_line} == {1}
    assert {answer.version for answer in second_line} == {2}
    assert [answer.row for answer in first_line] == [answer.row for answer in second_line]
    assert first_line[0].row == 20
    assert len(chosen) == 2 * SAMPLES_PER_VERSION


def test_without_answers_there_are_no_samples() -> None:
    """A demo that failed at once draws an empty picture rather than failing again."""
    assert samples(DemoLedger()) == []


def test_the_picture_is_written(tmp_path: Path) -> None:
    """As a PNG with something in it, in a folder that need not be there."""
    path = tmp_path / "new" / "digits.png"

    draw(samples(a_full_ledger()), DIGITS, path)

    picture = imread(path)
    assert picture.shape[0] > 500
    assert picture.std() > 0
