"""Fuzzes each stage for a while: `python -m tests.support.stages.fuzz_stages SECONDS`.

The property tests of tests/worker/stages/test_poison.py are run again and again, each time with
other examples. What fails is kept in `.cache/fuzz`, and is tried first the next time. Ends with 1
if anything failed.
"""

import sys
import time
import traceback
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.support.stages import poison
from tests.worker.stages import test_poison

CORPUS = Path(".cache/fuzz")
ROUND_EXAMPLES = 2000


def fuzz(seconds: float, round_examples: int = ROUND_EXAMPLES) -> tuple[int, dict[str, str]]:
    """Return how many cases were run, and what failed, by the name of its test."""
    chosen = settings(
        max_examples=round_examples,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        database=DirectoryBasedExampleDatabase(CORPUS),
    )
    tests: dict[str, Any] = {
        name: test for name, test in vars(test_poison).items() if name.startswith("test_any_")
    }
    before, end = poison.cases(), time.monotonic() + seconds
    failed: dict[str, str] = {}
    while time.monotonic() < end and len(failed) < len(tests):
        for name, test in tests.items():
            if name in failed or time.monotonic() >= end:
                continue
            # A test has its settings for good; these are for this run alone.
            usual = test._hypothesis_internal_use_settings
            test._hypothesis_internal_use_settings = chosen
            try:
                test()
            except Exception:
                failed[name] = traceback.format_exc()
            finally:
                test._hypothesis_internal_use_settings = usual
    return poison.cases() - before, failed


def main() -> int:
    """Fuzz, and print a summary."""
    started = time.monotonic()
    cases, failed = fuzz(float(sys.argv[1]) if len(sys.argv) > 1 else 3600)
    for name, trace in failed.items():
        print(f"{name}\n{trace}")
    seconds = time.monotonic() - started
    print(f"{cases} cases in {seconds:.0f} s, {len(failed)} stages with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
