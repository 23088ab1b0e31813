import sys
from pathlib import Path

import pytest

from tests.test_public_surface import loaded_by
from topicserve.wire.bodies.json_body import JSON
from topicserve.wire.bodies.options import BodyError
from topicserve.wire.bodies.registry import SHIPPED, Bodies, known_bodies, load_body
from topicserve.wire.errors import InvalidRecordError

MODULE = """
class Body:
    def __init__(self, content_types):
        self.content_types = content_types
    def read(self, value, parameters):
        raise NotImplementedError
    write = read

def make_json(options):
    return Body(["application/json"])

def make_images(options):
    return Body(["image/*", "application/zip"])

def make_nothing(options):
    return "not a body"

def make_untyped(options):
    return Body([])

def make_failing(options):
    raise SystemExit("no")

def make_upper_case(options):
    return Body(["Image/PNG"])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with bodies, as an installer would leave it."""
    metadata = tmp_path / "some_bodies-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-bodies\nVersion: 1.0\n")
    names = ("json", "images", "nothing", "untyped", "upper_case", "failing", "missing")
    lines = [f"some_{name} = some_bodies:make_{name}" for name in names]
    (metadata / "entry_points.txt").write_text("[topicserve.bodies]\n" + "\n".join(lines) + "\n")
    (tmp_path / "some_bodies.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_bodies", raising=False)
    return tmp_path


def test_shipped_bodies_are_known() -> None:
    """All of them, and each is loaded without options."""
    assert set(SHIPPED) <= set(known_bodies())
    for name in SHIPPED:
        assert load_body(name, {}).content_types == SHIPPED[name].content_types


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_body_refuses_options(name: str) -> None:
    """It has none."""
    with pytest.raises(BodyError, match=rf"options of the body '{name}': there is no `depth`"):
        load_body(name, {"depth": 1})


@pytest.mark.usefixtures("folder")
def test_a_body_from_outside_is_found_by_its_entry_point() -> None:
    """It reads its content types once it is configured."""
    assert "some_images" in known_bodies()
    bodies = Bodies({"some_images": load_body("some_images", {})})

    assert bodies.find("application/zip; level=9").content_type == "application/zip"
    with pytest.raises(InvalidRecordError, match="content-type: must be one of"):
        Bodies().find("application/zip")


@pytest.mark.usefixtures("folder")
def test_what_is_configured_has_precedence_over_what_is_shipped() -> None:
    """For the same content type; nothing else changes."""
    bodies = Bodies({"some_json": load_body("some_json", {})})

    assert bodies.find("application/json") is not JSON
    assert Bodies().find("application/json") is JSON


@pytest.mark.usefixtures("folder")
def test_an_exact_content_type_has_precedence_over_all_of_a_type() -> None:
    """And all content types of a type find the body that reads them."""
    body = load_body("some_images", {})
    bodies = Bodies({"some_images": body})

    assert type(bodies.find("image/anything")).__name__ == "CustomCodec"
    assert type(bodies.find("audio/wav")).__name__ == "ValueCodec"


@pytest.mark.usefixtures("folder")
def test_two_bodies_that_read_the_same_are_refused() -> None:
    """Which of them would read a record could not be told."""
    body = load_body("some_json", {})

    with pytest.raises(BodyError, match="the bodies 'a' and 'b' both read application/json"):
        Bodies({"a": body, "b": body})


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such", "unknown body 'no_such'; known are: json, open_inference_json, open_inf"),
        ("some_missing", r"body 'some_missing' \(some_bodies:make_missing\) cannot be imported"),
        ("some_nothing", "the body 'some_nothing' cannot be used: AttributeError"),
        ("some_failing", "the body 'some_failing' cannot be made: SystemExit: no"),
        ("some_untyped", "has no `content_types` in lower case"),
        ("some_upper_case", "has no `content_types` in lower case"),
    ],
)
def test_what_is_no_body_is_an_error_that_says_why(name: str, problem: str) -> None:
    """When it is loaded, not with the first record."""
    with pytest.raises(BodyError, match=problem):
        load_body(name, {})


def test_only_the_body_that_is_needed_is_imported() -> None:
    """A worker that reads JSON alone loads no protobuf."""
    code = "from topicserve.wire.bodies.registry import Bodies; Bodies().find('application/json')"

    assert "google" not in loaded_by(code)
