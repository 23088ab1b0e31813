"""Makes the status page of what `/status.json` says: HTML from the server alone, no script.

Topics, ids, error texts and versions' names come from others: the template escapes all of them.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from topicserve.printable import printable
from topicserve.worker.http.pages import Page
from topicserve.worker.status.charts import HEIGHT, WIDTH, Chart, Line, draw

if TYPE_CHECKING:
    import jinja2

REFRESH_SECONDS = 5
_SLOTS = 120
"""Points in ten minutes."""
_LONG, _HEAD = 200, 160
"""Characters of a text from which on it is folded, and of its beginning."""
_UNKNOWN = "\N{EN DASH}"
_CONTENT_TYPE = "text/html; charset=utf-8"


def status_page(
    sentence: str, word: str, statuses: Mapping[str, Mapping[str, Any]], *, refreshes: bool = True
) -> Page:
    """Return the page of some workers, each by its heading.

    `sentence` and `word` are the state of all of them together, as in `state` of one.
    """
    style = _style()
    html = _template().render(
        style=style,
        sentence=sentence,
        word=word,
        workers=[(heading, status, charts(status)) for heading, status in statuses.items()],
        refresh_seconds=REFRESH_SECONDS if refreshes else 0,
        chart_width=WIDTH,
        chart_height=HEIGHT,
    )
    return Page(200, _CONTENT_TYPE, html.encode(errors="replace"), _headers(style))


def charts(status: Mapping[str, Any]) -> list[Chart]:
    """Return the drawings of a worker's last ten minutes."""
    points: Sequence[Mapping[str, Any]] = status["history"]

    def line(name: str, key: str, scale: float = 1.0) -> Line:
        values = [point[key] for point in points]
        return Line(name, [None if one is None else one * scale for one in values])

    return [
        draw(
            "Throughput",
            "records/s",
            [
                line("results", "results_per_second"),
                line("dead letters", "dead_letters_per_second"),
            ],
            _SLOTS,
        ),
        draw(
            "Latency, publish to result",
            "ms",
            [line("p50", "p50_seconds", 1000), line("p99", "p99_seconds", 1000)],
            _SLOTS,
        ),
        draw("Lag", "records", [line("lag", "lag_records")], _SLOTS),
    ]


def _headers(style: str) -> tuple[tuple[str, str], ...]:
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return (
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    )


@cache
def _style() -> str:
    return _resource("status.css")


@cache
def _template() -> "jinja2.Template":
    import jinja2  # for the first page: a worker is ready before

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(
        number=_number, seconds=_seconds, bytes=_bytes, percent=_percent, clipped=_clipped
    )
    return environment.from_string(_resource("status.html.j2"))


def _visible(value: object) -> object:
    """Return what the template shows, with what cannot be seen escaped: NUL and ESC, for example.

    The browser ignores the ends of lines.
    """
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, keep="\n\t")
    return value


def _clipped(text: str) -> str:
    """Return a text, or of a long one its beginning, which a click unfolds without a script.

    No macro of the template's: each of those leaves a cycle with all that the page was made of.
    """
    if len(text) <= _LONG:
        return text
    head = text[:_HEAD].rsplit(" ", 1)[0]
    folded = '<details class="more"><summary>{}<span>…</span></summary>{}</details>'
    return Markup(folded).format(_visible(head), _visible(text[len(head) :]))


def _resource(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _number(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.3g}"


def _seconds(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def _bytes(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value * 100:.0f} %"
