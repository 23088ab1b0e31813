"""Finds the cause in what TensorFlow says, and what to do about it."""

import re

# What stands around the cause in a message of several lines.
_AROUND = ("[[", "Graph execution error", "Detected at node", "Original stack trace")
_UNKNOWN_OP = re.compile(r"Op type not registered '([^']+)'")


def explain(message: str) -> str:
    """Return the cause in one line, with the remedy where there is one.

    TF 1's saver writes a general remark before it, ending in "Original error:", and the session
    the node that failed.
    """
    cause = _cause(message)
    unknown_op = _UNKNOWN_OP.search(cause)
    if unknown_op:
        return (
            f"Op type not registered {unknown_op[1]!r}: install the Python package that has it and "
            'name its module in the option op_libraries, such as op_libraries = ["tensorflow_text"]'
        )
    if cause.startswith("Cannot assign a device for operation"):
        return f"the option allow_soft_placement = true would use another device: {cause}"
    return cause


def _cause(message: str) -> str:
    lines = [line.strip() for line in _last_part(message, "Original error:").splitlines()]
    nodes = [index for index, line in enumerate(lines) if line.startswith("Node: ")]
    if nodes:  # before it stand the lines of Python that made the node
        lines = lines[nodes[0] + 1 :]
    causes = (line for line in lines if line and not line.startswith(_AROUND))
    return next(causes, message.partition("\n")[0].strip())


def _last_part(message: str, marker: str) -> str:
    return message.rpartition(marker)[2]
