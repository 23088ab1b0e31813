"""Bytes within JSON trees, written `{"b64": text}`; and how deep a tree is nested.

Both are told level by level, a whole level at once: a body of a megabyte may have half a million
lists within one another, and is read on the thread that polls.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.json_codec.base64_text import decode_base64
from topicserve.wire.json_codec.text import count_byte, nesting_depth
from topicserve.wire.limits import exceeds, shortened

# Up to here an error names the place in the tree; finding it in a larger one takes too long.
_PLACED_BYTES = 64 * 1024


def with_bytes(tree: Any, content: bytes, field: str, max_depth: int) -> Any:
    """Return the tree of this JSON with every `{"b64": text}` replaced, as TF Serving reads it.

    The tree itself is changed. Raises InvalidRecordError naming the place of what is no base64, or
    the key of the limit where it is nested too deeply.
    """
    # An escaped name may be the one that is looked for, but it stands in an object.
    if b'"b64"' not in content and not (b"\\" in content and b"{" in content):
        if _is_nested_deeper(content, max_depth):
            raise too_deep(field, max_depth)
        return tree
    root = [tree]
    level: list[Any] = [root]
    for _ in range(max_depth + 2):
        below = list(_children(level))
        if set(map(type, below)) != {list}:
            below = [child for child in below if type(child) is list or type(child) is dict]
        if dict in map(type, below) and any(map(_is_bytes, below)):
            for node in level:
                _replace_in(node, root, content, field)
            below = [child for child in below if not _is_bytes(child)]
        level = below
        if not level:
            return root[0]
    raise too_deep(field, max_depth)


def _children(level: list[Any]) -> Iterable[Any]:
    if dict in map(type, level):
        level = [node if type(node) is list else node.values() for node in level]
    return chain.from_iterable(level)


def _is_nested_deeper(content: bytes, max_depth: int) -> bool:
    if count_byte(content, b"[") + count_byte(content, b"{") <= max_depth:
        return False
    return nesting_depth(content) > max_depth + 1


def _is_bytes(node: Any) -> bool:
    return len(node) == 1 and type(node) is dict and type(node.get("b64")) is str


def _replace_in(node: Any, root: list[Any], content: bytes, field: str) -> None:
    for key, child in enumerate(node) if type(node) is list else list(node.items()):
        if type(child) is dict and _is_bytes(child):
            try:
                node[key] = decode_base64(child["b64"])
            except ValueError as error:
                place = field
                if len(content) <= _PLACED_BYTES:
                    place += _place_of(child, root[0]) or ""
                raise InvalidRecordError(f"{place}.b64", str(error)) from None


def _place_of(wanted: Any, node: Any) -> str | None:
    """Return where a node is within another, such as `[2].x`."""
    if node is wanted:
        return ""
    if isinstance(node, (list, dict)):
        for key, child in enumerate(node) if isinstance(node, list) else node.items():
            place = _place_of(wanted, child)
            if place is not None:
                return f"[{key}]{place}" if isinstance(key, int) else f".{shortened(key)}{place}"
    return None


def too_deep(field: str, max_depth: int) -> InvalidRecordError:
    """Return the error for JSON that is nested too deeply."""
    return exceeds(field, "is nested too deeply", "max_nesting_depth", max_depth)
