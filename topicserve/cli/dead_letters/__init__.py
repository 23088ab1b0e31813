"""`topicserve dead-letters`: list, show and replay the records that workers gave up.

All three read with `scan`, up to the end that the topic had, and choose with `filters`. A replay is
`selection` (what goes, and why the rest does not), `execution` (slices), `publishing`
(transactions), `replayed` (what the group has done before) and `account` (the sums).
"""

import argparse
from importlib import import_module

SUBCOMMANDS = {
    "list": "count dead letters by reason, and list them",
    "show": "print one dead letter with its body, headers and error",
    "replay": "publish dead letters to the topics that they came from",
}
EXAMPLE = "example: topicserve dead-letters list --topic digits.dead-letter --since 2h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their flags."""
    parser.epilog = EXAMPLE
    subcommands = parser.add_subparsers(metavar="|".join(SUBCOMMANDS), required=True)
    for name, summary in SUBCOMMANDS.items():
        module = import_module(f"topicserve.cli.dead_letters.{name}")
        one = subcommands.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.set_defaults(run_subcommand=module.run)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand that was typed."""
    return int(arguments.run_subcommand(arguments))
