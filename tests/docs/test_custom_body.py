"""The body that docs/custom_body.md walks through works, from an entry point, as it stands."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.docs.installed import install, project_of
from tests.support.stages.poison import Line, check_alone, good, message_of
from topicserve import bodies
from topicserve.wire.bodies.registry import Bodies, load_body

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples/custom_body"
PAGE = (CHECKOUT / "docs/custom_body.md").read_text()
MESSAGE_PACK = [("content-type", b"application/msgpack")]
FOUND = {"00000000-0000-0000-0000-000000000001": b'{"row":1}'}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(EXAMPLE, tmp_path / "site", monkeypatch)


def line(**options: object) -> Line:
    """Return the stages of a worker with the body, and with metadata for record 1."""
    return Line(bodies=Bodies({"msgpack": load_body("msgpack", options)}), metadata=FOUND)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ({"instance": [1.0, 2.0, 3.0]}, {"y": [[1.0, 2.0, 3.0]]}),
        ({"instances": [[1.0, 2.0, 3.0]] * 2}, {"y": [[1.0, 2.0, 3.0]] * 2}),
    ],
)
def test_body_from_outside_reads_and_writes(sent: Any, answered: Any) -> None:
    """Installed and configured, it reads its content types beside JSON."""
    record = good(1, value=msgspec.msgpack.encode(sent), headers=MESSAGE_PACK)

    plain, with_metadata = (
        msgspec.msgpack.decode(check_alone(one, record).value or b"")
        for one in (line(), line(with_metadata=True))
    )

    assert plain == answered
    assert with_metadata == {**answered, "metadata": {"row": 1}}


def test_what_is_no_message_pack_is_refused_with_its_own_words() -> None:
    """As the code raises it."""
    outcome = check_alone(line(), good(1, value=b"\xc1", headers=MESSAGE_PACK))

    assert message_of(outcome).startswith("value: is not MessagePack: ")


def test_body_is_listed_and_its_options_are_checked() -> None:
    """The error that the page shows is the one that there is."""
    assert "msgpack" in bodies.known_bodies()
    error = "options of the body 'msgpack': there is no `with_meta`; known are: with_metadata"

    with pytest.raises(bodies.BodyError) as caught:
        load_body("msgpack", {"with_meta": True})

    assert str(caught.value) == error
    assert error in PAGE


def test_page_shows_the_code_that_runs() -> None:
    """Code and entry point stand on the page as they are, in under 60 lines."""
    code = (EXAMPLE / "topicserve_msgpack.py").read_text()
    (entry,) = project_of(EXAMPLE)["entry-points"]["topicserve.bodies"].items()

    assert f"```python\n{code}```" in PAGE
    assert "{} = {!r}".format(*entry).replace("'", '"') in PAGE
    assert len(code.splitlines()) < 60


def test_the_public_names_are_frozen() -> None:
    """A name that is added or taken away is added or taken away here, and in the changelog."""
    assert bodies.__all__ == [
        *("Asked", "Body", "BodyAnswer", "BodyContent", "BodyError", "BodyOptions"),
        *("InvalidRecordError", "MetadataStatus", "RoutingBody", "known_bodies"),
        "read_body_options",
    ]
    assert all(hasattr(bodies, name) for name in bodies.__all__)
