"""`topicserve config show`: what a worker would be told, and where each value comes from."""

import argparse

from topicserve.cli.config import show

SUMMARY = "print the effective configuration, and where each value comes from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand and its flags."""
    parser.epilog = show.EXAMPLE
    subcommands = parser.add_subparsers(metavar="show", required=True)
    one = subcommands.add_parser(
        "show", help=SUMMARY, description=f"{SUMMARY.capitalize()}.", epilog=show.EXAMPLE
    )
    show.add_arguments(one)
    one.set_defaults(run_subcommand=show.run)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand that was typed."""
    return int(arguments.run_subcommand(arguments))
