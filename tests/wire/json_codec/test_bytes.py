import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.json_codec.body import read_json_body
from topicserve.wire.json_codec.bytes import with_bytes

texts = st.sampled_from(["", "a", "b64", "[", "]]]", "{", '"', "\\", "x"])
encoded = st.builds(
    lambda content: {"b64": base64.b64encode(content).decode()}, st.binary(max_size=3)
)
trees: Any = st.recursive(
    st.one_of(st.none(), st.integers(0, 9), texts, encoded),
    lambda children: st.one_of(
        st.lists(children, max_size=4), st.dictionaries(texts, children, max_size=3)
    ),
    max_leaves=20,
)


def slowly(node: Any) -> Any:
    """Return a tree with its bytes, one node after the other."""
    if isinstance(node, dict):
        if node.keys() == {"b64"} and isinstance(node["b64"], str):
            return base64.b64decode(node["b64"], validate=True)
        return {name: slowly(child) for name, child in node.items()}
    return [slowly(child) for child in node] if isinstance(node, list) else node


def depth(node: Any) -> int:
    """Return how many lists and objects stand within one another."""
    if not isinstance(node, (list, dict)):
        return 0
    children = node if isinstance(node, list) else node.values()
    return 1 + max(map(depth, children), default=0)


@given(trees)
def test_bytes_are_found_as_if_each_node_was_looked_at(tree: Any) -> None:
    """A level at a time comes to the same."""
    try:
        expected = slowly(tree)
    except ValueError:
        return  # {"b64": "a"} is no base64; that it is refused is another test's

    assert with_bytes(orjson.loads(orjson.dumps(tree)), orjson.dumps(tree), "x", 64) == expected


@given(trees, st.integers(0, 5))
def test_depth_is_told_whatever_stands_in_strings(tree: Any, allowed: int) -> None:
    """Brackets within strings nest nothing."""
    content = orjson.dumps(tree)
    if b"b64" in content:
        return  # what stands for bytes is no level

    if depth(tree) <= allowed + 1:
        assert with_bytes(orjson.loads(content), content, "x", allowed) == tree
    else:
        with pytest.raises(InvalidRecordError, match="max_nesting_depth"):
            with_bytes(orjson.loads(content), content, "x", allowed)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[[{"b\\u0036\\u0034":"QQ=="}],{"x":[{"b64":"Qg=="}]}]', [[b"A"], {"x": [b"B"]}]),
        (b'[["\\n",["b64"]],[]]', [["\n", ["b64"]], []]),
        (b'[[[]],[{"x":{"b64":"QQ=="}},7]]', [[[]], [{"x": b"A"}, 7]]),
    ],
)
def test_bytes_are_found_by_an_escaped_name_and_beside_escapes(
    content: bytes, expected: Any
) -> None:
    """Where a text has neither objects nor the name, its tree is not looked at."""
    assert with_bytes(orjson.loads(content), content, "x", 64) == expected


def test_the_place_of_what_is_no_base64_is_named() -> None:
    """By its indexes and names, as far as the body is small enough to look for it."""
    with pytest.raises(InvalidRecordError, match=r"^instances\[1\]\.x\[0\]\.b64: is not base64"):
        read_json_body(b'{"instances":[1,{"x":[{"b64":"%%"}]}]}')
