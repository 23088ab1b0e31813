"""What is stored for a record, checked before it becomes part of a result as it is."""

import orjson

from topicserve.wire.json_codec.text import nesting_depth, without_number_tokens
from topicserve.wire.limits import Limits

# Readers count the result around the metadata, too, and their parsers allow fewer levels than ours.
MAX_METADATA_DEPTH = 256
_FEW_BRACKETS = 64


def check_metadata(content: bytes, limits: Limits) -> None:
    """Raise ValueError, or what a parser raises, for metadata that no result can carry."""
    if len(content) > limits.max_metadata_bytes:
        raise ValueError(
            f"the metadata stored has {len(content)} bytes; "
            f"limits.max_metadata_bytes allows {limits.max_metadata_bytes}"
        )
    try:
        tree = orjson.loads(content)
    except (orjson.JSONDecodeError, RecursionError) as error:
        if nesting_depth(content) > MAX_METADATA_DEPTH:
            raise _too_deep() from None
        problem = f"the metadata stored is not a JSON object: {_describe(content, error)}"
        raise ValueError(problem) from None
    if type(tree) is not dict:
        raise ValueError("the metadata stored is not a JSON object: it is something else")
    if content.count(b"[") + content.count(b"{") > _FEW_BRACKETS and _is_too_deep(tree):
        raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"the metadata stored is nested more than {MAX_METADATA_DEPTH} deep")


def _is_too_deep(tree: object) -> bool:
    level = [tree]
    for _ in range(MAX_METADATA_DEPTH):
        level = [
            item
            for node in level
            if isinstance(node, (dict, list))
            for item in (node.values() if isinstance(node, dict) else node)
        ]
    return any(isinstance(node, (dict, list)) for node in level)


def _describe(content: bytes, error: Exception) -> str:
    if without_number_tokens(content) is None:
        return str(error)
    return f"it has NaN or an infinity, which JSON lacks; store null instead ({error})"
