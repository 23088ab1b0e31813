"""What programs that measure have in common: their options, servers, and the way of their table."""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.docs import markdown, replace_section
from benchmarks.servers import Servers, open_servers

Rows = Sequence[Sequence[str]]
ROUNDS = (3, "")


@dataclass(frozen=True)
class Measurement:
    """A module of benchmarks, whose name is that of its section in docs/benchmarks.md."""

    name: str
    description: str
    columns: Sequence[str]
    measure: Callable[[argparse.Namespace], Rows]
    """Given the options, `only` among them."""
    numbers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Options that say how much is measured, with their defaults and help. The page shows them."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Measure, print the table, and write it to the page where asked to."""
        options = self._parse(arguments)
        rows = self.measure(options)
        print("\n".join(markdown(self.columns, rows)))
        if options.write_docs:
            replace_section(self.name, self._command(options), self.columns, rows)
        return 0

    def _parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{self.name}", description=self.description
        )
        parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name has it")
        for name, (default, text) in self.numbers.items():
            shown = f"{text} (%(default)s)" if text else "(%(default)s)"
            parser.add_argument(f"--{name}", type=int, default=default, help=shown)
        parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
        return parser.parse_args(arguments)

    def _command(self, options: argparse.Namespace) -> str:
        chosen = vars(options)
        numbers = [f"--{name} {chosen[name.replace('-', '_')]}" for name in self.numbers]
        only = [f'--only "{options.only}"'] if options.only else []
        return " ".join([f"python -m benchmarks.{self.name}", *numbers, *only])


@contextmanager
def workplace() -> Iterator[tuple[Servers, Path]]:
    """Give Apache Kafka and Valkey, made for the run, and a directory for its files."""
    with (
        tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory,
        open_servers(None, None) as servers,
    ):
        yield servers, Path(directory)
