from pathlib import Path

import pytest

from tests.support.processes.worker_config import MINIMAL, message


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("[batching]\nmax_batch_size = 0", "batching.max_batch_size: must be at least 1, found 0"),
        (
            "[batching]\nmax_batch_size = true",
            "batching.max_batch_size: must be a whole number, found True",
        ),
        (
            '[batching]\nmax_batch_size = "8"',
            "batching.max_batch_size: must be a whole number, found '8'",
        ),
        (
            "[batching]\nmax_batchsize = 8",
            "batching.max_batchsize: is not a key; did you mean batching.max_batch_size?",
        ),
        ("[batchin]\nx = 1", "batchin: is not a key; did you mean batching?"),
        (
            "[http]\nzzz = 1",
            "http.zzz: is not a key; known: host, port",
        ),
        (
            '[kafka]\nclient = "librdkafka"',
            "kafka.client: must be 'kafka-python' or 'confluent', found 'librdkafka'",
        ),
        (
            "[metadata]\nttl_seconds = 0",
            "metadata.ttl_seconds: must be above 0, found 0",
        ),
        ("[metadata]\nttl_seconds = nan", "metadata.ttl_seconds: must be a number, found nan"),
        ("[http]\nport = 65536", "http.port: must be at most 65535, found 65536"),
        ('[http]\nhost = ""', 'http.host: must be an address to listen on, such as "127.0.0.1"'),
        (
            "[batching]\nallowed_batch_sizes = [32, 8]",
            "batching.allowed_batch_sizes: must be increasing, found [32, 8]",
        ),
        (
            "[batching]\nallowed_batch_sizes = [8, 32]",
            "batching.allowed_batch_sizes: must end with batching.max_batch_size (1024), found 32",
        ),
        (
            "[servables.shadow]\nshare = 0.5\nversion = 1",
            "topics.shadow: is missing; servables.digits.shadow publishes its differences there",
        ),
        (
            "[servables.canary]\nshare = 1.5\nversion = 1",
            "servables.digits.canary.share: must be at most 1, found 1.5",
        ),
        (
            "[servables.canary]\nshare = 0.5",
            "servables.digits.canary: must have either a version or a label",
        ),
        (
            '[servables.canary]\nshare = 0.5\nlabel = "new"',
            "servables.digits.canary.label: must be one of version_labels, found 'new'",
        ),
        (
            "default_version = 1\nversion_labels = { a = 1 }\ndefault_label = 'a'",
            "servables.digits.default_label: must not be set beside default_version",
        ),
        (
            "default_version = -1",
            "servables.digits.default_version: must be at least 0, found -1",
        ),
        (
            'default_label = "stable"',
            "servables.digits.default_label: must be one of version_labels, found 'stable'",
        ),
        (
            "versions = [1, 2]\ndefault_version = 3",
            "servables.digits.default_version: must be one of versions, found 3",
        ),
        (
            "versions = [1, 2]\n[servables.canary]\nshare = 0.1\nversion = 3",
            "servables.digits.canary.version: must be one of versions, found 3",
        ),
        (
            "default_version = 2\n[servables.canary]\nshare = 0.1\nversion = 2",
            "servables.digits.default_version: must not be the canary's version, which is 2",
        ),
        (
            "version_labels = { next = 2, stable = 2 }\ndefault_label = 'stable'\n"
            "[servables.canary]\nshare = 0.1\nlabel = 'next'",
            "servables.digits.default_label: must not be the canary's version, which is 2",
        ),
        (
            "versions = [2]\n[servables.canary]\nshare = 0.1\nversion = 2",
            "servables.digits.versions: must list one for the default, besides canary",
        ),
        (
            "guard_share = 2",
            "servables.digits.guard_share: must be at most 1, found 2",
        ),
        (
            "guard_records = -1",
            "servables.digits.guard_records: must be at least 0, found -1",
        ),
        (
            "reserved_versions = [1]",
            "servables.digits.reserved_versions: is not a key; "
            "did you mean servables.digits.versions?",
        ),
        (
            'bas_path = "/x"',
            "servables.digits.bas_path: is not a key; did you mean servables.digits.base_path?",
        ),
        (
            'version_policy = "specific"',
            'servables.digits.versions: must list the versions of version_policy "specific"',
        ),
        (
            'version_policy = "all"\nnum_versions = 2',
            "servables.digits.num_versions: belongs to version_policy \"latest\", found 'all'",
        ),
        (
            '[[servables]]\nname = "digits"\nbase_path = "/x"',
            "servables[1].name: 'digits' is there twice",
        ),
        ('[[servables]]\nbase_path = "/x"', "servables[1].name: must be the servable's name"),
        (
            '[[servables]]\nname = "x"',
            "servables.x.base_path: is missing; "
            "set it in the file or in TOPICSERVE_SERVABLES__X__BASE_PATH",
        ),
        (
            '[kafka.settings]\ngroup.id = "x"',
            "kafka.settings.group.id: is not free: set kafka.group_id instead",
        ),
        (
            "[kafka.settings]\na.b = [1]",
            "kafka.settings.a.b: must be a string, a number, true or false, found a list",
        ),
        (
            '[kafka]\nbootstrap_servers = "a:1,localhost"',
            "kafka.bootstrap_servers: must be host:port, with commas between; number 2 is not",
        ),
        (
            '[kafka]\nbootstrap_servers = "a:70000"',
            "kafka.bootstrap_servers: must be host:port, with commas between; number 1 is not",
        ),
        (
            '[delivery]\nguarantee = "exactly_once"\n'
            "[kafka.producer_settings]\ntransaction.timeout.ms = 999",
            "kafka.producer_settings.transaction.timeout.ms: "
            "must be a whole number of at least 1000",
        ),
        (
            '[delivery]\nguarantee = "exactly_once"\n'
            "[kafka.producer_settings]\nenable.idempotence = false",
            "kafka.producer_settings.enable.idempotence: "
            'must not be false with delivery.guarantee "exactly_once"',
        ),
        (
            '[dataref]\nallow = ["s3://bucket", "file:///"]',
            "dataref.allow: file:/// would allow every file of this machine",
        ),
        (
            '[dataref]\nallow = ["s3://bucket"]\nwait_seconds = 300',
            "dataref.wait_seconds: must be less than delivery.stall_timeout_seconds, 300",
        ),
        (
            '[dataref]\nresults = "https://host/a"',
            "dataref.results: must be a store or file:, not a web server",
        ),
        (
            '[dataref]\nresults = "/results"',
            "dataref.results: /results is no URL of the form scheme://host/path",
        ),
        (
            '[dataref]\nallow = ["s3://bucket"]\nmax_bytes = 100\n'
            "[batching]\nmax_in_flight_bytes = 99",
            "dataref.max_bytes: must be at most max_in_flight_bytes, 99",
        ),
    ],
)
def test_a_wrong_key_is_named_with_what_to_write(tmp_path: Path, lines: str, expected: str) -> None:
    """The message starts with the key, says what was wanted, and shows what was found."""
    assert message(tmp_path, MINIMAL + lines) == expected


@pytest.mark.parametrize(
    ("table", "before", "now"),
    [
        ("kafka", "unreachable_seconds", "unreachable_timeout_seconds"),
        ("delivery", "drain_seconds", "drain_timeout_seconds"),
        ("delivery", "shutdown_seconds", "shutdown_timeout_seconds"),
        ("delivery", "unknown_version_seconds", "unknown_version_timeout_seconds"),
    ],
)
def test_a_key_that_was_renamed_is_found_again(
    tmp_path: Path, table: str, before: str, now: str
) -> None:
    """A file of before names the key to write."""
    expected = f"{table}.{before}: is not a key; did you mean {table}.{now}?"

    assert message(tmp_path, f"{MINIMAL}\n[{table}]\n{before} = 1.0") == expected


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (
            'input = ["a"]',
            "topics.output: is missing; set it in the file, with --output-topic or in "
            "TOPICSERVE_TOPICS__OUTPUT",
        ),
        ('input = []\noutput = "b"', "topics.input: is missing; name at least one topic to read"),
        ('input = ["a", "a"]\noutput = "b"', "topics.input: names a topic twice"),
        (
            'input = ["a", "b"]\noutput = "b"',
            "topics.output: 'b' is topics.input[1] too; each needs its own topic",
        ),
        (
            'input = ["a"]\noutput = "b"\ndead_letter = "b"',
            "topics.dead_letter: 'b' is topics.output too; each needs its own topic",
        ),
        (
            'input = ["a b"]\noutput = "b"',
            "topics.input[0]: must be 1 to 249 of a-z A-Z 0-9 . _ - as Kafka asks, found 'a b'",
        ),
        (
            "input = 5",
            "topics.input: must be a list, found 5",
        ),
    ],
)
def test_topics_are_checked(tmp_path: Path, topics: str, expected: str) -> None:
    """Results never go where they would be read as input again, or where others belong."""
    text = MINIMAL.replace('input = ["digits"]\noutput = "results"', topics)

    assert message(tmp_path, text) == expected
