"""What commands print: text that others chose cannot change the terminal that shows it.

Producers choose ids, keys, headers and bodies, and those who start workers choose their names.
Every line that a command prints goes through here, on both standard streams.
"""

import sys
from typing import Any

from topicserve.cli.standard_streams import write_output
from topicserve.printable import escape_unprintable, printable
from topicserve.producer.json_bytes import json_bytes
from topicserve.redact import redact_urls


def counted(number: int, noun: str) -> str:
    """Return `1 record`, `2 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def json_line(content: Any) -> bytes:
    """Return JSON in one line that cannot change a terminal, with the same content.

    What is not printable is escaped within strings, where JSON allows it; there is no line end.
    """
    encoded = json_bytes(content, "line")
    # JSON writers escape what comes before the space. The rest needs to be looked for.
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    text = encoded.decode()
    return encoded if text.isprintable() else escape_unprintable(text, _json_escape).encode()


def write_line(text: str, *, flush: bool = False) -> None:
    """Print one line on standard output."""
    write_output(printable(text).encode() + b"\n", flush=flush)


def write_json(content: Any, *, flush: bool = False) -> None:
    """Print one line of JSON on standard output."""
    write_output(json_line(content) + b"\n", flush=flush)


def say(text: str) -> None:
    """Print one line on standard error, without the secrets of a URL in it."""
    print(printable(redact_urls(text)), file=sys.stderr)


def _json_escape(letter: str) -> str:
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
