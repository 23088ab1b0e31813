"""Runs the checks, and prints each finding with its key.

Keys first, then the HTTP port, servers and models; with --offline or --skip-models less.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from topicserve.cli.argument_types import seconds
from topicserve.cli.check.findings import Finding, Findings, Severity
from topicserve.cli.config.flags import add_key_arguments, flags_of
from topicserve.cli.standard_streams import need_output
from topicserve.cli.terminal import counted, write_json, write_line
from topicserve.exit_codes import EXIT_FAILED, EXIT_OK
from topicserve.printable import printable
from topicserve.worker.config.loading import find_problems, load_config
from topicserve.worker.config.schema import LoggingConfig, LogLevel, WorkerConfig

EXAMPLE = "example: topicserve check worker.toml"
DEFAULT_TIMEOUT_SECONDS = 600.0
_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.PROBLEM: "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: those of the worker, and what is left out."""
    parser.epilog = EXAMPLE
    parser.add_argument("config", type=Path, metavar="CONFIG", nargs="?", help="the TOML file")
    add_key_arguments(parser)
    parser.add_argument(
        "--offline", action="store_true", help="ask neither brokers nor the store, as in CI"
    )
    parser.add_argument("--skip-models", action="store_true", help="load no models")
    parser.add_argument(
        "--timeout-seconds",
        type=seconds("--timeout-seconds"),
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="S",
        help="how long models may take to load (%(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each finding")


def run(arguments: argparse.Namespace) -> int:
    """Look at everything; the exit code is 1 where there is a problem.

    A wrong key ends it: servers and models are looked at only with a configuration that is right.
    Warnings do not change the exit code.
    """
    need_output()
    findings = Findings(_json_teller if arguments.json else _text_teller())
    config = _read(arguments, findings)
    if config is not None:
        _check(arguments, config, findings)
    if not arguments.json:
        write_line(
            f"{counted(findings.problems, 'problem')}, {counted(findings.warnings, 'warning')}",
            flush=True,
        )
    return EXIT_FAILED if findings.problems else EXIT_OK


def _read(arguments: argparse.Namespace, findings: Findings) -> WorkerConfig | None:
    typed = flags_of(arguments)
    problems = find_problems(arguments.config, os.environ, typed)
    for problem in problems:
        findings.problem(problem.key, problem.problem)
    if problems:
        return None
    findings.ok(str(arguments.config or "configuration"), "every key is right")
    return load_config(arguments.config, os.environ, typed)


def _check(arguments: argparse.Namespace, config: WorkerConfig, findings: Findings) -> None:
    # Here: all of it is of no use where a key is wrong, and some of it takes long to import.
    from topicserve.cli.check.bodies import check_bodies
    from topicserve.cli.check.custom_bodies import check_custom_bodies
    from topicserve.cli.check.models import check_models
    from topicserve.cli.check.servers import check_http, check_kafka, check_store
    from topicserve.cli.worker.startup import TENSORFLOW_LOG_LEVEL
    from topicserve.worker.telemetry.logging import configure_logging, libraries_silenced

    os.environ.setdefault(*TENSORFLOW_LOG_LEVEL)
    # What is worth saying is a finding.
    configure_logging(LoggingConfig(level=LogLevel.ERROR))
    with libraries_silenced():
        check_http(config.http, findings)
        check_custom_bodies(config, findings)
        if not arguments.offline:
            check_store(config, findings)
            check_bodies(config.dataref, findings)
            check_kafka(config, findings)
    if not arguments.skip_models:
        check_models(config, findings, arguments.timeout_seconds)


def _json_teller(finding: Finding) -> None:
    write_json(finding.content(), flush=True)


def _text_teller() -> Callable[[Finding], None]:
    console = Console(highlight=False, soft_wrap=True)

    def tell(finding: Finding) -> None:
        line = Text.assemble(
            (f"{finding.severity.value:<8}", _COLOURS[finding.severity]),
            f" {printable(finding.key)}: {printable(finding.message)}",
        )
        console.print(line)

    return tell
