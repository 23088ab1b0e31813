"""What ends the demo early."""


class DemoError(Exception):
    """The demo cannot go on; one line says why, and where to look."""
