"""The flags that stand for keys of a worker's configuration, for all commands that read one.

Which flag stands for which key is in `topicserve.worker.config.flags`, beside the keys.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from topicserve.cli.errors import UsageError
from topicserve.worker.config.flags import FLAGS, Flag
from topicserve.worker.config.texts import Text


def add_config_arguments(parser: argparse.ArgumentParser, flags: Iterable[Flag] = FLAGS) -> None:
    """Declare the file and the flags; each stands for a key of the file, and wins over it."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML; see docs/configuration.md"
    )
    add_key_arguments(parser, flags)


def add_key_arguments(parser: argparse.ArgumentParser, flags: Iterable[Flag] = FLAGS) -> None:
    """Declare the flags without the file."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of the file, such as batching.max_batch_bytes=1000000; may be repeated",
    )
    parser.add_argument(
        "--kafka-setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any of Kafka's settings, such as security.protocol=SASL_SSL; may be repeated",
    )
    for flag in flags:
        parser.add_argument(
            flag.name,
            dest=flag.key,
            metavar=flag.metavar,
            help=flag.help,
            action="append" if flag.repeated else "store",
        )


def flags_of(arguments: argparse.Namespace, flags: Iterable[Flag] = FLAGS) -> dict[str, object]:
    """Return what was typed by dotted key; `--set` wins over the flag for the same key.

    A flag that was not typed is None, so that the file or the environment decides. UsageError where
    a pair has no `=`; what was typed is not shown, since it may be a password.
    """
    typed: dict[str, object] = {flag.key: getattr(arguments, flag.key) for flag in flags}
    for setting in arguments.kafka_setting:
        name, value = _pair("--kafka-setting", "NAME=VALUE", setting)
        typed[f"kafka.settings.{name}"] = Text(value, "--kafka-setting")
    for setting in arguments.set:
        key, value = _pair("--set", "KEY=VALUE", setting)
        typed[key] = Text(value, "--set")
    return typed


def _pair(flag: str, form: str, setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    # What was typed is not shown: where the = is missing or misplaced, it may be a password.
    if not name or not equals or set(name) & set(":@/ "):
        raise UsageError(f"{flag}: must be {form}; one of them is not")
    return name, value
