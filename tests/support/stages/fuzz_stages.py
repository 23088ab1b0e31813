"""Fuzzes each stage for a while: `python -m tests.support.stages.fuzz_stages SECONDS`.

The property tests of what reads records, bodies, headers and answers are run again and again, each
time with other examples. What fails is kept in `.cache/fuzz`, and is tried first the next time.
Ends with 1 if anything failed.
"""

import functools
import importlib
import inspect
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

CHECKOUT = Path(__file__).parents[3]
# Where what comes from outside is read: bodies, headers, tensors, rows of features, references.
FOLDERS = ("tests/wire", "tests/worker/stages", "tests/protos", "tests/backends/references")
MODULES = (
    "tests/servables/kinds/test_example_rows.py",
    "tests/servables/kinds/test_example_writer.py",
)
CORPUS = Path(".cache/fuzz")
ROUND_EXAMPLES = 500


def properties() -> dict[str, Any]:
    """Return the property tests by name: those that need nothing but examples."""
    folders = [path for folder in FOLDERS for path in (CHECKOUT / folder).rglob("test_*.py")]
    return {
        f"{path.relative_to(CHECKOUT)}::{name}": test
        for path in sorted([*folders, *(CHECKOUT / module for module in MODULES)])
        if "@given(" in path.read_text()
        for name, test in vars(_imported(path)).items()
        if getattr(test, "is_hypothesis_test", False) and not inspect.signature(test).parameters
    }


def _imported(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.relative_to(CHECKOUT).with_suffix("").parts))


def fuzz(seconds: float, round_examples: int = ROUND_EXAMPLES) -> tuple[int, dict[str, str]]:
    """Return how many cases were run, and what failed, by the name of its test."""
    chosen = settings(
        max_examples=round_examples,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        database=DirectoryBasedExampleDatabase(CORPUS),
    )
    tests = properties()
    end = time.monotonic() + seconds
    cases = 0
    failed: dict[str, str] = {}
    while time.monotonic() < end and len(failed) < len(tests):
        for name, test in tests.items():
            if name in failed or time.monotonic() >= end:
                continue
            ran, failure = _run(test, chosen)
            cases += ran
            if failure:
                failed[name] = failure
                print(f"{name}\n{failure}", flush=True)
    return cases, failed


def _run(test: Any, chosen: settings) -> tuple[int, str]:
    """Run a property once with these settings; return how many cases it had, and its failure."""
    ran = 0

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def count(*arguments: Any, **named: Any) -> Any:
            nonlocal ran
            ran += 1
            return inner(*arguments, **named)

        return count

    # A test has its settings for good; these are for this run alone.
    usual, inner = test._hypothesis_internal_use_settings, test.hypothesis.inner_test
    test._hypothesis_internal_use_settings = chosen
    test.hypothesis.inner_test = counted(inner)
    try:
        test()
    except Exception:
        return ran, traceback.format_exc()
    finally:
        test._hypothesis_internal_use_settings = usual
        test.hypothesis.inner_test = inner
    return ran, ""


def main() -> int:
    """Fuzz, and print a summary."""
    started = time.monotonic()
    cases, failed = fuzz(float(sys.argv[1]) if len(sys.argv) > 1 else 3600)
    seconds = time.monotonic() - started
    print(f"{cases} cases in {seconds:.0f} s, {len(failed)} properties with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
