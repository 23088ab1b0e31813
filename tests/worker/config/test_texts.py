import msgspec.inspect as types
import pytest

from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.config.texts import Text, as_typed

_WORKER = types.type_info(WorkerConfig)


def text(typed: str) -> Text:
    """Return what a variable says."""
    return Text(typed, "VARIABLE")


def test_a_text_is_read_as_its_keys_type() -> None:
    """However deep the key is; a key that is not known keeps its text."""
    tree = {
        "batching": {"max_batch_size": text("8"), "allowed_batch_sizes": text("4,8")},
        "metadata": {"delete_after_publish": text("TRUE"), "key_prefix": text("8")},
        "http": {"port": text("eighty"), "prot": text("80")},
        "kafka": {"settings": {"linger": {"ms": text("5")}, "sasl.password": text("5")}},
        "servables": [{"name": text("x"), "options": {"steps": {"first": text("5")}}}],
    }

    assert as_typed(_WORKER, tree, "") == {
        "batching": {"max_batch_size": 8, "allowed_batch_sizes": [4, 8]},
        "metadata": {"delete_after_publish": True, "key_prefix": "8"},
        "http": {"port": "eighty", "prot": 80},
        "kafka": {"settings": {"linger.ms": 5, "sasl.password": "5"}},
        "servables": [{"name": "x", "options": {"steps": {"first": 5}}}],
    }


@pytest.mark.parametrize("value", [5, True, 0.5, "5", [1], {"a": 1}])
def test_what_the_file_says_keeps_its_type(value: object) -> None:
    """TOML has types of its own: a number in quotes is a slip, not a number."""
    assert as_typed(_WORKER, {"http": {"port": value}}, "") == {"http": {"port": value}}
