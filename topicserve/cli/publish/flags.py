"""The flags of `topicserve publish`; `sources` and `publishing` give them their meaning."""

import argparse

from topicserve.backends.redis_store import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS
from topicserve.cli.argument_types import count, number, seconds
from topicserve.cli.connection import add_kafka_arguments, add_store_arguments
from topicserve.cli.publish.json_lines import KEYS
from topicserve.cli.publish.sources import FORMATS

ROW_FORMS = ("object", "list", "value")

EXAMPLE = f"""\
A line of JSON Lines is an object with these keys: {", ".join(KEYS)}.

examples:
  topicserve publish records.jsonl --topic records --servable digits
  topicserve publish rows.parquet --topic records --metadata-columns user --checkpoint rows.state
  topicserve publish rows.csv --topic records --row list --metadata run=7 --rate 500
  topicserve publish photos --topic records --servable classifier
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", metavar="FILE", help='a file or folder; "-" is standard input')
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="what the file is; by default its name says so, and standard input is JSON Lines",
    )
    parser.add_argument("--topic", required=True, metavar="T", help="where the records go")
    parser.add_argument("--servable", metavar="NAME", help="for records that name none")
    parser.add_argument(
        "--source",
        default="/topicserve/publish",
        metavar="URI",
        help="CloudEvents source (%(default)s)",
    )
    _add_columns(parser)
    _add_pace(parser)
    add_kafka_arguments(parser)
    parser.add_argument(
        "--create-topics",
        type=count("--create-topics"),
        metavar="PARTITIONS",
        help="create the topic where it is missing",
    )
    add_store_arguments(parser)
    parser.add_argument(
        "--ttl-seconds",
        type=seconds("--ttl-seconds", MAX_TTL_SECONDS),
        default=DEFAULT_TTL_SECONDS,
        metavar="S",
        help="how long the store keeps the metadata (%(default)g)",
    )
    parser.add_argument(
        "--metadata-elsewhere",
        action="store_true",
        help="records without metadata have theirs in the store already",
    )


def _add_columns(parser: argparse.ArgumentParser) -> None:
    columns = parser.add_argument_group("columns, of CSV, Parquet, .npy, .npz and folders")
    columns.add_argument(
        "--input-columns", metavar="A,B", help="the model's inputs; by default all other columns"
    )
    columns.add_argument(
        "--row",
        choices=ROW_FORMS,
        help="a row as an object by column name (default), a list, or the only column's value",
    )
    columns.add_argument(
        "--tensors",
        action="store_true",
        help="send a row as arrays with their dtypes, in protobuf",
    )
    columns.add_argument("--metadata-columns", metavar="A,B", help="the records' metadata")
    columns.add_argument("--id-column", metavar="A", help="the record ids")
    columns.add_argument("--key-column", metavar="A", help="the Kafka keys")
    columns.add_argument(
        "--text-columns",
        metavar="A,B",
        help="columns of a CSV file that are text in any case",
    )
    columns.add_argument(
        "--column-types",
        metavar="A=TYPE,B=TYPE",
        help="types of a CSV file's columns, such as int64 or float64",
    )
    parser.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="metadata of all records; VALUE is JSON, or else text; may be repeated",
    )


def _add_pace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        type=number("--rate", 0.001),
        metavar="N",
        help="publish at most N records a second",
    )
    parser.add_argument(
        "--limit", type=count("--limit"), metavar="N", help="publish at most N records"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep here how far the file is published; the same command goes on from there",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="go on with a checkpoint of other flags, another cluster or a topic made again",
    )
    parser.add_argument(
        "--skip-invalid",
        action="store_true",
        help="report a record that is invalid or refused, and go on with the next",
    )
