"""What every page says of links, commands, keys, metrics, headers and code is so."""

import argparse
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.docs import pages
from tests.support.docs.pages import CHECKOUT, DOCS, PAGES
from tools.reference_pages import keys, metric_rows
from topicserve.cli.commands import COMMANDS, parser_of
from topicserve.wire import dead_letter, header_names

every_page = pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
KEYS = {key.dotted for key in keys()}
TABLES = sorted({key.table for key in keys() if key.table})
# Settings of [kafka.settings] and its like have names of Kafka's behind the table.
KAFKA_TABLES = {"kafka.settings", "kafka.consumer_settings", "kafka.producer_settings"}
# Names of other programs and libraries that are written like ours.
FOREIGN = {
    *("tensorflow_text", "saved_model_cli", "predict_pb2", "tf_serving_warmup_requests"),
    *("model_config_list", "model_platform", "max_batch_size", "stop_grace_period"),
    *("isolation_level", "batching_parameters_file", "num_batch_threads", "batch_timeout_micros"),
    *("max_enqueued_batches", "pad_variable_length_inputs", "enable_batching"),
    *("monitoring_config_file", "rest_api_port", "version_policy", "LogAppendTime"),
    *("GetModelStatus", "GetModelMetadata", "MultiInference", "HandleReloadConfigRequest"),
    *("tensorflow_model_server", "dynamic_shapes", "onnxruntime_extensions", "weights_only"),
    "StringNormalizer",  # an operator of ONNX
    "with_meta",  # likewise, docs/custom_body.md
    "unknown_beyound",  # a mistake that docs/custom_servable.md makes on purpose
}


@every_page
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    """Relative ones, within the checkout."""
    for target in pages.links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        # Pages at the top are part of the site too.
        if page.parent == DOCS and not found.exists():
            found = CHECKOUT / path.upper().replace(".MD", ".md")
        assert found.exists(), target
        assert not anchor or anchor in pages.anchors(found), target


@every_page
def test_commands_use_flags_that_exist(page: Path) -> None:
    """Of the command that they are typed behind."""
    for command in pages.commands(page):
        _, name, *words = command.split()
        assert name in COMMANDS, command
        known = flags_of(name)
        assert [word for word in words if flag_of(word) and flag_of(word) not in known] == []


@every_page
def test_commands_in_blocks_are_taken_by_the_parser(page: Path) -> None:
    """With their values; `$ADDRESS` and the like stand for themselves."""
    inline = set(pages.inline(page))
    for command in pages.commands(page):
        if command not in inline:
            words = shlex.split(command)[1:]
            if "..." not in words:
                parser_of(words[0]).parse_args(words)


@every_page
def test_flags_alone_are_of_some_command(page: Path) -> None:
    """`--flag` in the text, without its command."""
    known = set().union(*(flags_of(name) for name in COMMANDS), flags_of_benchmarks())

    # TensorFlow Serving's have underscores.
    ours = [code for code in pages.inline(page) if re.match(r"--[a-z-]+(?![a-z_])", code)]
    flags = [flag_of(code) for code in ours]
    assert [flag for flag in flags if flag not in known] == []


@every_page
def test_keys_exist(page: Path) -> None:
    """Whatever is written like a key of a table is one."""
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, TABLES))})\.[a-z_]+")
    for code in pages.inline(page):
        found = pattern.match(code)
        if found and not re.match(r"[.\w(/]", code[found.end() :] or " "):
            assert found[0] in KEYS, code


@every_page
def test_variables_of_the_environment_exist(page: Path) -> None:
    """`TOPICSERVE_TABLE__KEY` is a key of a table."""
    for table, key in re.findall(r"TOPICSERVE_([A-Z]+)__([A-Z_]+)", pages.text_of(page)):
        dotted = f"{table}.{key.removesuffix('_FILE')}".lower()
        if table != "SERVABLES":
            assert dotted.partition("__")[0] in KEYS | KAFKA_TABLES


@every_page
def test_metrics_exist(page: Path) -> None:
    """With the suffix that Prometheus sees."""
    known = {row.name for row in metric_rows()}
    for name in re.findall(r"\btopicserve_[a-z_]+\b", pages.text_of(page)):
        if name not in OUR_OTHER_NAMES:
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known or name in known, name


METRICS = r"topicserve_|process_|python_"  # checked by themselves, or of every Python process
# Some are put together in the code; tests/docs/test_logging.py holds that the list is right.
EVENTS = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "logging.md").read_text(), re.MULTILINE))
OUR_OTHER_NAMES = {
    "topicserve_stack",
    "topicserve_kafka",
    "topicserve_redis",
    "topicserve_centroids",
    "topicserve_msgpack",
}


@every_page
def test_headers_exist(page: Path) -> None:
    """Those of CloudEvents, of Spring Kafka and our own."""
    values = [value for module in (header_names, dead_letter) for value in vars(module).values()]
    known = {value for value in values if isinstance(value, str)}
    known = known.union(*(value for value in values if isinstance(value, frozenset)))
    for code in pages.inline(page):
        if re.fullmatch(r"ce_[a-z]+|kafka_dlt-[a-z-]+", code):
            assert code in known
        elif re.fullmatch(r"topicserve-[a-z-]+", code):  # or a thread
            assert code in known or f'"{code}"' in source()


@every_page
def test_names_in_code_are_names_in_the_code(page: Path) -> None:
    """Of keys, options, events, reasons, classes and functions: a renamed one is found here."""
    if page.name in ("upstream_tests.md", "conformance.md", "benchmarks.md"):
        return  # generated, or about the tests
    if "**Status:** withdrawn" in pages.text_of(page):
        return
    words = {
        code
        for code in pages.inline(page)
        if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+|([A-Z][a-z]+){2,}", code)
    }

    known = names_in_the_code() | EVENTS | FOREIGN
    assert sorted(word for word in words - known if not re.match(METRICS, word)) == []


@every_page
def test_paths_exist(page: Path) -> None:
    """Of the checkout, or below the package or the tests."""
    if "**Status:** withdrawn" in pages.text_of(page):
        return
    roots = [CHECKOUT, *(CHECKOUT / root for root in ROOTS)]
    for code in pages.inline(page):
        path = code.partition("::")[0]
        if re.fullmatch(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|md|yml|yaml|toml|json|jsonl)", path):
            assert any((root / path).exists() for root in roots), path
        elif re.match(
            r"(?:deploy|docs|examples|benchmarks|tests|topicserve|tools)/[\w./-]+$", code
        ):
            assert (CHECKOUT / code).exists(), code


@every_page
def test_targets_of_make_exist(page: Path) -> None:
    """`make TARGET`, in the text and in blocks."""
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    blocks = "\n".join([*pages.indented(page), *pages.inline(page)])

    assert set(re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)) <= targets


def test_every_page_is_in_the_navigation() -> None:
    """Decisions are added to it when the site is built."""
    nav = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text())["nav"]
    listed = set(re.findall(r"[\w/]+\.md", str(nav)))
    written = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}

    assert {page for page in written - listed if not re.match(r"adr/\d", page)} == set()
    assert listed - written == {"changelog.md", "contributing.md", "security.md"}


def test_the_first_page_leads_to_every_page() -> None:
    """Decisions have an index of their own."""
    linked = {target.partition("#")[0] for target in pages.links(DOCS / "index.md")}
    written = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}

    assert {page for page in written - linked if not re.match(r"adr/\d|index", page)} == set()


TOP_FOLDERS = "deploy|docs|examples|benchmarks|tests|topicserve|tools"
# Where pages say that their paths begin: the package, the servables, and their tests.
ROOTS = ("topicserve", "topicserve/servables", "tests", "tests/servables")


def flag_of(word: str) -> str:
    """Return the flag that a word of a command is, without its value; empty for other words."""
    found = re.match(r"--[a-z][a-z-]+", word)
    return found[0] if found else ""


@cache
def flags_of(command: str) -> frozenset[str]:
    """Return the flags of a command, from its own parser."""
    actions = parser_of(command)._actions
    (commands,) = [one for one in actions if isinstance(one, argparse._SubParsersAction)]
    return frozenset({*_flags(commands.choices[command]), "--version"})


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    """Return a parser's flags, and those of the commands below it."""
    below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    nested = (_flags(inner) for one in below for inner in one.choices.values())
    return set(parser._option_string_actions).union(*nested)


@cache
def flags_of_benchmarks() -> frozenset[str]:
    """Return the flags of the benchmarks and of the tools that are in the checkout."""
    sources = [*(CHECKOUT / "benchmarks").glob("*.py"), *(CHECKOUT / "tests/support").glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    return frozenset(re.findall(r'"(--[a-z-]+)"', text))


@cache
def source() -> str:
    """Return the source of the package."""
    return "\n".join(path.read_text() for path in (CHECKOUT / "topicserve").rglob("*.py"))


@cache
def names_in_the_code() -> frozenset[str]:
    """Return every word of the package's source, of the deployment's files and of the project's."""
    paths = [
        *(CHECKOUT / "topicserve").rglob("*.py"),
        *(CHECKOUT / "deploy").rglob("*.*"),
        *(CHECKOUT / "tests/support").glob("*.py"),
        CHECKOUT / "pyproject.toml",
    ]
    text = "\n".join(path.read_text(errors="replace") for path in paths if path.is_file())
    return frozenset(re.findall(r"\w+", text))
