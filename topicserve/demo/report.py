"""The demo's table and its picture."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from topicserve.demo.digits import Digits
from topicserve.demo.ledger import DemoAnswer, DemoLedger
from topicserve.demo.summary import Summary

SAMPLES_PER_VERSION = 12
_COLUMNS = 6
_SIDE = 8


def table(summary: Summary, peak_memory_bytes: int, seconds: float) -> Table:
    """Return the summary as a table for the terminal."""
    shown = Table(title="What came of it", show_header=False, title_justify="left")
    shown.add_column()
    shown.add_column(justify="right")
    for name, value in _rows(summary):
        shown.add_row(name, value)
    shown.add_row("memory of all processes at its peak", f"{peak_memory_bytes / 2**20:,.0f} MiB")
    shown.add_row("the whole demo took", f"{seconds:.0f} s")
    return shown


def _rows(summary: Summary) -> list[tuple[str, str]]:
    rows = [
        ("records published", f"{summary.records:,}"),
        ("records with a result", f"{summary.results:,}"),
        ("lost", f"{summary.lost:,}"),
        ("duplicates (allowed: at least once)", f"{summary.duplicates:,}"),
        ("wrong predictions or metadata", f"{summary.wrong:,}"),
        ("dead letters", f"{summary.dead_letters:,}"),
    ]
    for version, accuracy in summary.by_version.items():
        rows.append((f"results of version {version}", f"{accuracy.results:,}"))
        rows.append(("  right, by the label in the metadata", f"{accuracy.all_rows:.1%}"))
        rows.append(("  right, of images it never learned from", _percent(accuracy.held_out_rows)))
    rows += [(f"results of {worker}", f"{count:,}") for worker, count in summary.by_worker.items()]
    rows += [
        ("records a second (paced)", f"{summary.records_per_second:,.0f}"),
        ("latency p50", _milliseconds(summary.latency_p50_seconds)),
        ("latency p99 until the kill", _milliseconds(summary.latency_before_kill_p99_seconds)),
        ("latency p99 in all", _milliseconds(summary.latency_p99_seconds)),
        ("longest time without a result", _milliseconds(summary.longest_silence_seconds)),
    ]
    return rows


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def samples(ledger: DemoLedger) -> list[DemoAnswer]:
    """Return answers of each version to the same images, those first that one got wrong.

    A line of the picture is of one version, and the next line shows the same images.
    """
    by_version: dict[int, dict[int, DemoAnswer]] = {}
    for answer in ledger.answers.values():
        by_version.setdefault(answer.version, {}).setdefault(answer.row, answer)
    if not by_version:
        return []
    common = sorted(set.intersection(*(set(rows) for rows in by_version.values())))
    hard = [row for row in common if any(_is_wrong(one[row]) for one in by_version.values())]
    half = hard[: SAMPLES_PER_VERSION // 2]
    rows = (half + [row for row in common if row not in hard])[:SAMPLES_PER_VERSION]
    lines = [rows[start : start + _COLUMNS] for start in range(0, len(rows), _COLUMNS)]
    return [
        by_version[version][row] for line in lines for version in sorted(by_version) for row in line
    ]


def draw(answers: Sequence[DemoAnswer], digits: Digits, path: Path) -> None:
    """Write a picture of images with what was predicted, by which version, and the metadata."""
    # pyplot would look for a display and keep every figure.
    from matplotlib.figure import Figure

    lines = max(1, math.ceil(len(answers) / _COLUMNS))
    figure = Figure(figsize=(2.0 * _COLUMNS, 2.6 * lines), layout="constrained")
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for ax in axes:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for ax, answer in zip(axes, answers, strict=False):
        image = digits.pixels[answer.row].reshape(_SIDE, _SIDE)
        ax.imshow(image, cmap="gray_r", interpolation="nearest")
        color = "firebrick" if _is_wrong(answer) else "darkgreen"
        ax.set_title(f"{answer.name} (version {answer.version})", color=color, fontsize=11)
        ax.set_xlabel(_caption(answer), fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _caption(answer: DemoAnswer) -> str:
    metadata = answer.metadata
    return (
        f"label {metadata['label']}, row {metadata['row']}\n"
        f"{answer.worker_id}, {answer.latency_seconds * 1000:.0f} ms\n{metadata['source']}"
    )


def _is_wrong(answer: DemoAnswer) -> bool:
    return bool(answer.digit != answer.metadata["label"])
