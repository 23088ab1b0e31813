import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.status import a_point, a_status
from topicserve.worker.http.pages import Page
from topicserve.worker.status.page import charts, status_page

HOSTILE = "<script>alert('x')</script>\"'&{{ 7 * 7 }}\u2028\ud800"


def page_of(**changes: Any) -> Page:
    """Return the page of one worker."""
    return status_page("Keeping up.", "keeping_up", {"w": a_status(**changes)})


class Outline(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and its text."""

    VOID = frozenset({"meta", "br", "rect", "polyline", "polygon"})

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page.body.decode())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def hostile_status() -> dict[str, Any]:
    """Return a status in which every text that others choose is hostile."""
    version = {
        "version": 3,
        "state": "END",
        "age_seconds": 2.0,
        "load_seconds": None,
        "error": HOSTILE,
    }
    letter = {
        "at": 1.0,
        "reason": "invalid_input",
        "record_id": HOSTILE,
        "topic": HOSTILE,
        "partition": 0,
        "offset": 1,
        "problem": HOSTILE,
    }
    return {
        "servables": [
            {
                "name": HOSTILE,
                "default_version": None,
                "problem": HOSTILE,
                "labels": {HOSTILE: 3},
                "canary": {"share": 0.1, "version": 3, "label": None},
                "shadow": {"share": 0.5, "version": None, "label": HOSTILE},
                "versions": [version],
            }
        ],
        "dead_letters": {
            "topic": HOSTILE,
            "replay_command": HOSTILE,
            "replay_needs": [HOSTILE],
            "total": 1,
            "by_reason": {"invalid_input": 1},
            "newest": [letter],
        },
        "configuration": {HOSTILE: HOSTILE},
    }


def test_what_others_wrote_stays_text() -> None:
    """Names, ids, errors and topics come from anyone who may publish a record or a version."""
    harmless, hostile = Outline(page_of()), Outline(page_of(**hostile_status()))

    assert "script" not in hostile.tags
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert hostile.text.count("<script>alert('x')</script>\"'&{{ 7 * 7 }}") >= 9
    assert set(harmless.tags) >= {"h1", "table", "svg", "meter"}


def test_the_page_asks_no_other_host_and_runs_nothing() -> None:
    """Its one style sheet is in it, and the policy lets a browser take that one alone."""
    page = page_of(**hostile_status())
    outline = Outline(page)
    headers = dict(page.headers)

    style = re.search(r"<style>(.*?)</style>", page.body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not {"script", "img", "iframe", "link", "object", "form"} & set(outline.tags)
    assert {value for name, value in outline.attributes if name in ("href", "src")} <= {
        *("/", "/?refresh=off", "/status.json", "/metrics", "/readyz", "/livez", "/v1/models")
    }
    assert not [value for name, value in outline.attributes if name == "style"]


@pytest.mark.parametrize(("refreshes", "times"), [(True, 1), (False, 0)])
def test_the_page_renews_itself_unless_asked_not_to(refreshes: bool, times: int) -> None:
    """Without a script: as the browser's own refresh."""
    page = status_page("Idle.", "idle", {"w": a_status()}, refreshes=refreshes)

    assert page.body.decode().count('http-equiv="refresh"') == times


def test_the_numbers_are_on_the_page() -> None:
    """Each beside what it is about."""
    text = " ".join(Outline(page_of()).text.split())

    assert "Keeping up." in text
    assert "predict ← limits 88 % 12.5 ms" in text
    assert "7 of 16,384 records, 2 KiB of 64 MiB; 2 partitions paused" in text
    assert "Partitions: 1, 40 records behind" in text
    assert "in-3 40 1.5 s" in text
    assert "rows batches ≤ 8 4 more 1 ended by batches rows 5" in text
    assert "publish to result – 250 ms 500 ms" in text  # noqa: RUF001 - a dash: it is not known


def test_what_the_replay_command_needs_is_named_beside_it() -> None:
    """Where something is hidden, and only there."""
    letters = hostile_status()["dead_letters"]

    texts = [
        Outline(page_of(dead_letters={**letters, "replay_needs": needs})).text
        for needs in ([], ["your password", "your key"])
    ]

    assert "to be added" not in texts[0]
    assert "Not shown here, and to be added: your password; your key." in texts[1]


def test_what_cannot_be_seen_is_escaped() -> None:
    """NUL, ESC, an overriding direction: nothing of a record can change a terminal or the page."""
    status = hostile_status()
    status["dead_letters"]["newest"][0]["problem"] = "a\x00b\x1b[31mc\u202ed\r\n\te"

    page = page_of(**status).body.decode()

    assert r"a\x00b\x1b[31mc\u202ed\r" in page
    assert all(letter.isprintable() or letter in "\n\t" for letter in page)


@given(words=st.lists(st.text("ab, <&", min_size=1, max_size=300), max_size=20))
def test_a_long_text_is_there_as_a_whole_behind_its_beginning(words: list[str]) -> None:
    """A click shows the rest; a phone's screen is not filled by one message."""
    text = " ".join(words)
    letter = hostile_status()["dead_letters"]["newest"][0] | {"problem": text, "record_id": "ID"}
    dead_letters = hostile_status()["dead_letters"] | {"newest": [letter]}

    page = page_of(dead_letters=dead_letters).body.decode()

    shown = page.partition("ID</code><br>")[2].partition("</li>")[0]
    if len(text) > 200:
        found = re.fullmatch(
            r'\s*<details class="more"><summary>(.*)<span>…</span></summary>(.*)</details>\s*',
            shown,
            re.DOTALL,
        )
        assert found is not None
        assert len(html.unescape(found[1])) <= 160
        shown = found[1] + found[2]
    assert html.unescape(shown).strip() == text.strip()


def test_the_sentence_has_the_first_problem_and_a_list_the_others() -> None:
    """What to do is read first, at once, and once; of a sentence that is cut all is in the list."""
    short, long = (["no store", "no group"], ["x" * 500, "no group"])
    for problems, listed in ((short, ["no group"]), (long, long)):
        state = {"word": "not_ready", "sentence": "", "problems": problems, "limited_by": None}
        sentence = f"Not ready: {problems[0]}."

        page = status_page(sentence, "not_ready", {"w": a_status(state=state)}).body.decode()

        items = page.partition('<ul class="problems not_ready">')[2].partition("</ul>")[0]
        assert [problem for problem in problems if problem[:9] in items] == listed
        assert page.partition("<h1>")[2].startswith(sentence[:300])


def test_each_worker_has_its_drawings() -> None:
    """Throughput, latency and lag of the points, in the units of their titles."""
    points = [
        a_point(5.0, results_per_second=40.0, p50_seconds=0.01, lag_records=7.0),
        a_point(10.0, results_per_second=80.0, dead_letters_per_second=2.0, p99_seconds=0.2),
    ]

    throughput, latency, lag = charts(a_status(history=points))

    assert [(line.name, line.latest) for line in throughput.lines] == [
        ("results", 80.0),
        ("dead letters", 2.0),
    ]
    assert (throughput.unit, throughput.top) == ("records/s", 100.0)
    assert [(line.name, line.latest) for line in latency.lines] == [("p50", None), ("p99", 200.0)]
    assert (lag.title, lag.top) == ("Lag", 10.0)
