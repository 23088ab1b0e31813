"""Text that others chose, such that it cannot change the terminal or the page that shows it.

Ids, keys, headers, bodies and names of workers are others' text. `topicserve.cli.terminal` prints
all lines through it, and status pages use it as well.
"""

from collections.abc import Callable


def printable(text: str, *, keep: str = "") -> str:
    r"""Return text whose control, bidirectional and invisible characters are escaped, as in \x1b.

    The result is one line, unless the ends of lines are among those to `keep`.
    """
    if text.isprintable():
        return text
    return escape_unprintable(
        text,
        lambda letter: letter if letter in keep else letter.encode("unicode_escape").decode(),
    )


def escape_unprintable(text: str, escape: Callable[[str], str]) -> str:
    """Return text whose unprintable characters are what `escape` makes of each."""
    # Bodies may have megabytes: what they are made of is looked at once, not each letter.
    return text.translate(
        {ord(letter): escape(letter) for letter in set(text) if not letter.isprintable()}
    )
