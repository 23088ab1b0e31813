import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.processes.worker_config import MINIMAL, load, message
from tests.support.stages.examples import examples
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import (
    Client,
    ConfigError,
    Guarantee,
    OnMissingMetadata,
    TopicsConfig,
    WorkerConfig,
)
from topicserve.worker.config.served import CanaryConfig, ServedConfig
from topicserve.worker.config.texts import Text


def test_what_the_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    """A file with the topics and one servable is enough."""
    config = load(tmp_path)

    assert config == WorkerConfig(
        TopicsConfig(("digits",), "results"),
        (ServedConfig("digits", "/models/digits"),),
    )
    assert config.dead_letter_topic == "digits.dead-letter"


def test_every_kind_of_value_is_read_from_the_file(tmp_path: Path) -> None:
    """Strings, enumerations, numbers, switches and lists come out as the fields' types."""
    config = load(
        tmp_path,
        MINIMAL
        + """
        [servables.canary]
        share = 1
        version = 3
        [kafka]
        client = "confluent"
        group_instance_id = "w-0"
        [metadata]
        on_missing = "dead_letter"
        delete_after_publish = true
        wait_seconds = 2
        [batching]
        max_batch_size = 64
        allowed_batch_sizes = [8, 64]
        [delivery]
        guarantee = "exactly_once"
        """,
    )

    assert config.servables[0].canary == CanaryConfig(share=1.0, version=3)
    assert config.servables[0].servable.reserved_versions == (3,)
    assert (config.servables[0].guard_share, config.servables[0].guard_records) == (0.5, 100)
    assert config.kafka.client is Client.CONFLUENT
    assert config.kafka.group_instance_id == "w-0"
    assert config.metadata.on_missing is OnMissingMetadata.DEAD_LETTER
    assert config.metadata.delete_after_publish is True
    assert config.metadata.wait_seconds == 2.0
    assert isinstance(config.metadata.wait_seconds, float)
    assert config.batching.allowed_batch_sizes == (8, 64)
    assert config.delivery.guarantee is Guarantee.EXACTLY_ONCE


def test_the_environment_wins_over_the_file_and_flags_over_both(tmp_path: Path) -> None:
    """Each layer replaces single keys of the one below."""
    text = MINIMAL + '[kafka]\ngroup_id = "file"\nclient = "confluent"\nbootstrap_servers = "f:1"'
    environ = {"TOPICSERVE_KAFKA__GROUP_ID": "env", "TOPICSERVE_KAFKA__BOOTSTRAP_SERVERS": "e:1"}

    config = load(tmp_path, text, environ, **{"kafka.bootstrap_servers": "flag:1"})

    assert config.kafka.client is Client.CONFLUENT
    assert config.kafka.group_id == "env"
    assert config.kafka.bootstrap_servers == "flag:1"


def test_a_worker_can_be_configured_without_a_file() -> None:
    """Flags alone do, and a flag that was not given (None) sets nothing."""
    flags = {
        "topics.input": ["a", "b"],
        "topics.output": "out",
        "servables": ["x=/models/x", "y=s3://bucket/y?a=b"],
        "http.port": 8080,
        "kafka.group_id": None,
    }

    config = load_config(None, {}, flags)

    assert config.topics.input == ("a", "b")
    assert [one.servable.base_path for one in config.servables] == [
        "/models/x",
        "s3://bucket/y?a=b",
    ]
    assert config.http.port == 8080
    assert config.kafka.group_id == "topicserve"


def test_text_from_the_environment_is_read_by_the_keys_type(tmp_path: Path) -> None:
    """Numbers, switches, enumerations and lists are written as text there."""
    environ = {
        "TOPICSERVE_TOPICS__INPUT": "a, b,c",
        "TOPICSERVE_BATCHING__MAX_BATCH_SIZE": "32",
        "TOPICSERVE_BATCHING__ALLOWED_BATCH_SIZES": "8,32",
        "TOPICSERVE_BATCHING__BATCH_TIMEOUT_SECONDS": "0.005",
        "TOPICSERVE_METADATA__DELETE_AFTER_PUBLISH": "true",
        "TOPICSERVE_METADATA__ON_MISSING": "dead_letter",
        "TOPICSERVE_MODELS__NUM_LOAD_THREADS": "4",
    }

    config = load(tmp_path, environ=environ)

    assert config.topics.input == ("a", "b", "c")
    assert config.batching.max_batch_size == 32
    assert config.batching.allowed_batch_sizes == (8, 32)
    assert config.batching.batch_timeout_seconds == 0.005
    assert config.metadata.delete_after_publish is True
    assert config.metadata.on_missing is OnMissingMetadata.DEAD_LETTER
    assert config.models.num_load_threads == 4


def test_the_environment_reaches_into_servables(tmp_path: Path) -> None:
    """A servable is found by its name in capitals, whatever stands in it, or is added."""
    text = MINIMAL.replace('name = "digits"', 'name = "digit-names"')
    environ = {
        "TOPICSERVE_SERVABLES__DIGIT_NAMES__BASE_PATH": "/other",
        "TOPICSERVE_SERVABLES__DIGIT_NAMES__OPTIONS__WARM_UP": "false",
        "TOPICSERVE_SERVABLES__DIGIT_NAMES__VERSION_LABELS__STABLE": "3",
        "TOPICSERVE_SERVABLES__NEW__BASE_PATH": "/new",
        "TOPICSERVE_SERVABLES__NEW__KIND": "hashmap",
    }

    first, second = load(tmp_path, text, environ).servables

    assert first.servable == ServableConfig(
        "digit-names", "/other", options={"warm_up": False}, version_labels={"stable": 3}
    )
    assert second.servable == ServableConfig("new", "/new", kind="hashmap")


def test_a_servable_flag_moves_the_one_of_that_name(tmp_path: Path) -> None:
    """--servable NAME=PATH keeps whatever else the file says about NAME."""
    config = load(tmp_path, MINIMAL + 'kind = "hashmap"', servables=["digits=/elsewhere"])

    assert [one.servable for one in config.servables] == [
        ServableConfig("digits", "/elsewhere", kind="hashmap")
    ]


def test_repeated_flags_are_never_split() -> None:
    """A path may have a comma; each flag is one item, also where there is only one."""
    flags = {"topics.input": ["a"], "topics.output": "out", "servables": ["x=/models/a,b=c"]}

    config = load_config(None, {}, flags)

    assert [one.servable.name for one in config.servables] == ["x"]
    assert config.servables[0].servable.base_path == "/models/a,b=c"
    with pytest.raises(ConfigError, match=r"^topics\.input.*a,b.*\(from --input-topic\)"):
        load_config(None, {}, {**flags, "topics.input": ["a,b"]})
    with pytest.raises(ConfigError, match=r"NAME=BASE_PATH \(from --servable\)$"):
        load_config(None, {}, {**flags, "servables": ["x=/x", "y"]})


def test_lists_in_the_environment_may_have_a_comma_in_an_item() -> None:
    """With a backslash before it."""
    environ = {"TOPICSERVE_SERVABLES": r"x=/models/a\,b, y=/y,"}

    config = load_config(None, environ, {"topics.input": "a,b", "topics.output": "out"})

    assert [one.servable.base_path for one in config.servables] == ["/models/a,b", "/y"]
    assert config.topics.input == ("a", "b")


def test_an_error_names_no_source_where_there_is_none() -> None:
    """Nothing is from a file without a file."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, {"topics.input": "a", "topics.output": "b"})

    assert "(from" not in str(caught.value)


def test_kafka_settings_may_be_quoted_or_not(tmp_path: Path) -> None:
    """TOML reads unquoted dots as nested tables; both come out as Kafka's own names."""
    config = load(
        tmp_path,
        MINIMAL
        + """
        [kafka.settings]
        security.protocol = "SSL"
        "ssl.ca.location" = "/ca.pem"
        [kafka.consumer_settings]
        session.timeout.ms = 10000
        """,
        {
            "TOPICSERVE_KAFKA__SETTINGS__SASL_PASSWORD": "0123",
            "TOPICSERVE_KAFKA__PRODUCER_SETTINGS__LINGER_MS": "5",
            "TOPICSERVE_KAFKA__PRODUCER_SETTINGS__ENABLE_IDEMPOTENCE": "true",
        },
        **{"kafka.settings.client.rack": "eu-1"},
    )

    assert config.kafka.settings == {
        "security.protocol": "SSL",
        "ssl.ca.location": "/ca.pem",
        "sasl.password": "0123",
        "client.rack": "eu-1",
    }
    assert config.kafka.consumer_settings == {"session.timeout.ms": 10000}
    assert config.kafka.producer_settings == {"linger.ms": 5, "enable.idempotence": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-5", -5), ("0.25", 0.25), ("true", True), ("007", "007"), ("1e5", "1e5")],
)
def test_a_setting_in_the_environment_is_what_it_looks_like(text: str, value: object) -> None:
    """No key says what type it has; what would lose something as a number stays text."""
    config = load_config(
        None,
        {"TOPICSERVE_KAFKA__SETTINGS__X_Y": text},
        {"topics.input": "a", "topics.output": "b", "servables": "m=/m"},
    )

    assert config.kafka.settings == {"x.y": value}


@pytest.mark.parametrize(
    ("lines", "policy"),
    [
        ("", VersionPolicy()),
        ("num_versions = 2", VersionPolicy(num_versions=2)),
        ('version_policy = "latest"', VersionPolicy()),
        ('version_policy = "all"', VersionPolicy(VersionPolicyKind.ALL)),
        ("versions = [1, 3]", VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1, 3))),
    ],
)
def test_version_policies(tmp_path: Path, lines: str, policy: VersionPolicy) -> None:
    """A number or a list of versions implies the policy that it belongs to."""
    config = load(tmp_path, MINIMAL + lines)

    assert config.servables[0].servable.version_policy == policy


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "TOPICSERVE_BATCHING__MAX_BATCH_SIZE",
            "none",
            "batching.max_batch_size: must be a whole number, found 'none' "
            "(from TOPICSERVE_BATCHING__MAX_BATCH_SIZE)",
        ),
        (
            "TOPICSERVE_BATCHING__MAXBATCHSIZE",
            "1",
            "batching.maxbatchsize: is not a key; did you mean batching.max_batch_size? "
            "(from TOPICSERVE_BATCHING__MAXBATCHSIZE)",
        ),
        ("TOPICSERVE_KAFKA", "x", "kafka: must be a table (from TOPICSERVE_KAFKA)"),
        (
            "TOPICSERVE_DEFAULT_SERVABL",
            "1",
            "TOPICSERVE_DEFAULT_SERVABL: is not a key; did you mean TOPICSERVE_DEFAULT_SERVABLE?",
        ),
        (
            "TOPICSERVE_BATCHING__ALLOWED_BATCH_SIZES",
            "[7,50]",
            "batching.allowed_batch_sizes: must be written as a,b without brackets, found '[7,50]' "
            "(from TOPICSERVE_BATCHING__ALLOWED_BATCH_SIZES)",
        ),
        (
            "TOPICSERVE_SERVABLES",
            "digits",
            "servables: must be NAME=BASE_PATH (from TOPICSERVE_SERVABLES)",
        ),
        (
            "TOPICSERVE_METADATA__DELETE_AFTER_PUBLISH",
            "yes",
            "metadata.delete_after_publish: must be true or false, found 'yes' "
            "(from TOPICSERVE_METADATA__DELETE_AFTER_PUBLISH)",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    """What came from the environment says so, since no file shows it."""
    assert message(tmp_path, environ={variable: value}) == expected


def test_other_programs_variables_are_left_alone(tmp_path: Path) -> None:
    """Kubernetes sets such ones beside a service named topicserve."""
    environ = {"TOPICSERVE_PORT_8080_TCP": "tcp://10.0.0.1:8080", "TOPICSERVE_SERVICE_HOST": "x"}

    assert load(tmp_path, environ=environ) == load(tmp_path)


def test_nothing_to_serve_is_an_error() -> None:
    """Without a servable, or TF Serving's list of them, there is nothing to do."""
    flags = {"topics.input": "a", "topics.output": "b"}

    with pytest.raises(ConfigError, match=r"^servables: is missing; name one with"):
        load_config(None, {}, flags)
    assert load_config(None, {}, {**flags, "model_config_file": "/m"}).servables == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[kafka", "is not TOML: "),
        (b"\xff", "is not TOML: "),
        (b"x = " + b"9" * 5000, "is not TOML: "),
        (b"x = " + b"[" * 5000, "is nested too deeply"),
        (b"[kafka.settings]\n" + b".".join([b"a"] * 5000) + b" = 1", "is nested too deeply"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """The path stands where otherwise the key does."""
    path = tmp_path / "worker.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, {"topics.input": "a", "topics.output": "b", "servables": "m=/m"})

    assert str(caught.value).startswith(f"{path}: {problem}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """So is one that cannot be read."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.toml", {}, {})
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_config(tmp_path, {}, {})


_WORDS = st.sampled_from(
    [
        *("kafka", "topics", "batching", "servables", "http", "settings", "canary", "digits", "x"),
        *("input", "output", "share", "name", "base_path", "port", "max_batch_size"),
        "allowed_batch_sizes",
    ]
)
_SCALARS = st.one_of(
    st.integers().map(str),
    st.floats().map(lambda number: str(number)),
    st.sampled_from(["true", "[]", "[1, 2]", "{}", "{a = {b = 1}}", "1979-05-27", '["a"]']),
    st.text(string.ascii_letters + ".,=:/", max_size=12).map(lambda text: f'"{text}"'),
)
_LINES = st.one_of(
    st.tuples(_WORDS, _WORDS).map(lambda parts: "[" + ".".join(parts) + "]"),
    _WORDS.map(lambda word: f"[{word}]"),
    _WORDS.map(lambda word: f"[[{word}]]"),
    st.tuples(_WORDS, _SCALARS).map(" = ".join),
)
_TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    content=st.one_of(
        st.lists(_LINES, max_size=12).map(lambda ls: "\n".join(ls).encode()), st.binary()
    ),
    environ=st.dictionaries(
        st.lists(_WORDS, min_size=1, max_size=4).map(
            lambda parts: "TOPICSERVE_" + "__".join(parts).upper()
        ),
        st.text(max_size=12),
        max_size=3,
    ),
    flags=st.dictionaries(
        st.lists(_WORDS, min_size=1, max_size=4).map(".".join), _TREES, max_size=3
    ),
    minimal=st.booleans(),
)
@settings(max_examples=examples(300), deadline=None)
def test_nothing_but_a_config_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    environ: dict[str, str],
    flags: dict[str, object],
    minimal: bool,
) -> None:
    """Whatever is in the file, the environment and the flags, the outcome is one of two."""
    path = tmp_path_factory.mktemp("config") / "worker.toml"
    path.write_bytes((MINIMAL.encode() if minimal else b"") + content)

    outcome: WorkerConfig | ConfigError
    try:
        outcome = load_config(path, environ, flags)
    except ConfigError as error:
        outcome = error

    assert isinstance(outcome, WorkerConfig) or str(outcome).startswith(f"{outcome.key}: ")


@pytest.mark.parametrize(
    ("text", "environ", "flags", "source"),
    [
        ("[batching]\nmax_batch_size = 0", {}, {}, "worker.toml)"),
        ("[http]\nport = 1", {"TOPICSERVE_BATCHING__MAX_BATCH_SIZE": "0"}, {}, "_SIZE)"),
        ("", {}, {"batching.max_batch_size": "0"}, "(from --max-batch-size)"),
        ("", {}, {"batching.max_batch_size": Text("0", "--set")}, "(from --set)"),
        ("[http]\nprot = 1", {}, {}, "worker.toml)"),
        ("[http]\nhost = ''", {}, {}, "worker.toml)"),
        ("[http]\nhost = 'a'", {"TOPICSERVE_HTTP__HOST": ""}, {}, "(from TOPICSERVE_HTTP__HOST)"),
        ("[kafka]\nbootstrap_servers = 'x'", {}, {"kafka.group_id": "g"}, "worker.toml)"),
        ("", {"TOPICSERVE_KAFKA__SETTINGS__GROUP_ID": "g"}, {}, "KAFKA__SETTINGS__GROUP_ID)"),
    ],
)
def test_an_error_says_where_the_value_came_from(
    tmp_path: Path, text: str, environ: dict[str, str], flags: dict[str, object], source: str
) -> None:
    """The file, the variable or the flag, for the value that counts."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, MINIMAL + text, environ, **flags)

    assert str(caught.value).endswith(source)
    assert str(caught.value).count("(from ") == 1


def test_what_is_missing_came_from_nowhere(tmp_path: Path) -> None:
    """Its message says where it may be set."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "[topics]\ninput = ['a']")

    assert "(from " not in str(caught.value)


def test_the_known_keys_of_the_file_include_its_servables(tmp_path: Path) -> None:
    """They are read apart, but they are a key like the others."""
    assert ", servables, " in message(tmp_path, MINIMAL.replace("[topics]", "[zzzzzzz]\n[topics]"))
