import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.processes.toml import to_toml
from tests.support.processes.worker_config import MINIMAL, load
from topicserve.backends.errors import BackendConfigError
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.config.flags import _pair
from topicserve.cli.errors import UsageError
from topicserve.cli.main import main
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import ConfigError

SECRET = "hunter2"
PASSWORD_VARIABLE = "TOPICSERVE_KAFKA__SETTINGS__SASL_PASSWORD_FILE"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """Write a secret as Docker and Kubernetes do, with an end of the line."""
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    return path


def test_any_key_is_read_from_the_file_that_its_variable_names(
    tmp_path: Path, secret_file: Path
) -> None:
    """Kafka's settings, nested keys and those at the top; only the end of the line is left out."""
    url, top = tmp_path / "url", tmp_path / "top"
    url.write_text("redis://:hunter2@redis:6379/0\r\n")
    top.write_text("digits")

    config = load(
        tmp_path,
        environ={
            PASSWORD_VARIABLE: str(secret_file),
            "TOPICSERVE_METADATA__REDIS_URL_FILE": str(url),
            "TOPICSERVE_DEFAULT_SERVABLE_FILE": str(top),
            "TOPICSERVE_MODEL_CONFIG_FILE": "models.config",
        },
    )

    assert config.kafka.settings == {"sasl.password": "hunter2"}
    assert config.metadata.redis_url == "redis://:hunter2@redis:6379/0"
    assert config.default_servable == "digits"
    assert config.model_config_file == "models.config"
    assert SECRET not in repr(config)


def test_a_servables_own_options_may_end_in_file(tmp_path: Path) -> None:
    """They are the kind's to name."""
    config = load(tmp_path, environ={"TOPICSERVE_SERVABLES__DIGITS__OPTIONS__TABLE_FILE": "t.csv"})

    assert config.servables[0].servable.options == {"table_file": "t.csv"}


@pytest.mark.parametrize("problem", ["missing", "fifo", "binary", "endless", "twice"])
def test_a_secret_that_cannot_be_read_names_the_variable(
    problem: str, tmp_path: Path, secret_file: Path
) -> None:
    """Nothing of the content, and no wait."""
    environ = {PASSWORD_VARIABLE: str(secret_file)}
    secret_file.unlink()
    if problem == "fifo":
        os.mkfifo(secret_file)
    elif problem == "binary":
        secret_file.write_bytes(b"hunter2\xff")
    elif problem == "endless":
        secret_file.symlink_to("/dev/zero")
    elif problem == "twice":
        environ[PASSWORD_VARIABLE.removesuffix("_FILE")] = SECRET

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ=environ)

    assert str(caught.value).startswith(PASSWORD_VARIABLE)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "typed", [SECRET, f"/{SECRET}", f"{SECRET}\0", f"{SECRET}: x", "/" + SECRET * 99]
)
def test_a_secret_in_place_of_its_files_path_is_not_shown(tmp_path: Path, typed: str) -> None:
    """A slip that is soon made; the variable's name says which file is meant."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={PASSWORD_VARIABLE: typed})

    assert str(caught.value).startswith(f"{PASSWORD_VARIABLE}: names a file that cannot be used: ")
    assert SECRET not in str(caught.value)


HOLDERS = {
    "metadata.redis_url": f"redis://user:{SECRET}@redis:6379/0",
    "kafka.bootstrap_servers": f"user:{SECRET}@kafka:9092",
    "kafka.settings.sasl.password": SECRET,
    "kafka.consumer_settings.ssl.key.password": SECRET,
    "kafka.group_id": SECRET,
    "topics.output": SECRET,
    "topics.dead_letter": SECRET,
    "default_servable": SECRET,
    "servables.digits.options.password": SECRET,
    "servables.digits.base_path": f"/models/{SECRET}",
}
WRONG = st.one_of(
    st.sampled_from(["", "x", "[", "a=b", "1e999", "redis//", ":", "@", "true", "-1"]),
    st.integers(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["a", "b.c"]), st.integers(), max_size=2),
)
NEIGHBOURS = (
    "kafka",
    "kafka.settings",
    "kafka.client",
    "kafka.settings.group.id",
    "kafka.settings.sasl",
    "metadata",
    "metadata.timeout_seconds",
    "metadata.redis",
    "topics",
    "topics.input",
    "servables",
    "servables.digits",
    "servables.digits.kind",
    "delivery.guarantee",
    "http.port",
    "unknown",
)


@given(
    holder=st.sampled_from(list(HOLDERS)),
    as_list=st.booleans(),
    neighbour=st.sampled_from(NEIGHBOURS),
    wrong=WRONG,
)
def test_no_error_shows_a_secret(
    tmp_path_factory: pytest.TempPathFactory,
    holder: str,
    as_list: bool,
    neighbour: str,
    wrong: object,
) -> None:
    """Whatever else is wrong: keys beside it, the tables around it, or its own type."""
    value: object = [HOLDERS[holder]] if as_list else HOLDERS[holder]
    path = tmp_path_factory.getbasetemp() / "secrets.toml"
    path.write_text(MINIMAL)
    # A plain name that is itself wrong may be shown.
    is_plain = "redis" not in holder and "kafka" not in holder

    for error in (
        error_of(path, {holder: value, neighbour: wrong}),
        error_of(path, {neighbour: wrong, holder: value}),
    ):
        assert SECRET not in str(error) or (is_plain and error.key == holder)


def error_of(path: Path, flags: dict[str, object]) -> ConfigError:
    """Return what is said about a configuration, or an empty error where nothing is wrong."""
    try:
        load_config(path, {}, flags)
    except ConfigError as error:
        return error
    return ConfigError("", "")


@pytest.mark.parametrize("table", ["kafka", "metadata", "kafka.settings", "topics", "servables"])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_tables_text_is_not_shown(table: str, place: str, tmp_path: Path) -> None:
    """It may be the whole table, in a form that is not understood here."""
    text = f'{{"redis_url": "redis://:{SECRET}@h", "sasl.password": "{SECRET}"}}'
    variable = "TOPICSERVE_" + table.upper().replace(".", "__")

    parts: object = [text]
    for part in reversed(table.split(".")):
        parts = {part: parts}
    assert isinstance(parts, dict)

    with pytest.raises(ConfigError) as caught:
        load(
            tmp_path,
            MINIMAL if place == "environment" else to_toml(parts),
            {variable: text} if place == "environment" else {},
        )

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [SECRET, f"sasl.password:{SECRET}", f"={SECRET}", f"redis_url:redis://:{SECRET}@h/0?a=b"],
)
def test_what_is_no_key_and_value_is_not_shown(typed: str) -> None:
    """Where the = is missing or misplaced, it may be the password itself."""
    with pytest.raises(UsageError) as caught:
        _pair("--set", "KEY=VALUE", typed)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("command", ["worker", "publish", "results"])
@pytest.mark.parametrize(
    "words", [["--redis-ur!", f"redis://:{SECRET}@h"], [f"--sasl={SECRET}"], [SECRET, SECRET]]
)
def test_an_unknown_flag_is_shown_without_its_value(
    command: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in a flag's name must not put a password into a log."""
    with pytest.raises(SystemExit) as ended:
        main([command, *words])

    assert ended.value.code == 2
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_password_among_the_servers_is_refused_unseen(client: str) -> None:
    """Clients' own errors would show it."""
    with pytest.raises(BackendConfigError) as caught:
        open_broker(client, {"bootstrap.servers": f"user:{SECRET}@kafka:9092"})

    assert SECRET not in str(caught.value)
