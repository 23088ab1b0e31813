"""How many examples a property test runs, where it needs more or fewer than hypothesis's 100."""

from hypothesis import settings

USUAL = 100


def examples(count: int) -> int:
    """Return the count for `max_examples`: as given, or the profile's share of it.

    A number in a test's own settings has precedence over the profile, so `make quick` would run
    such a test at full length.
    """
    usual = settings.default
    return max(1, count * (usual.max_examples if usual else USUAL) // USUAL)
