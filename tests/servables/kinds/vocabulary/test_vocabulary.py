"""Tokens become ids and ids tokens, as TensorFlow's tables have it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.options import read_options
from topicserve.servables.kinds.vocabulary import make_adapter
from topicserve.servables.kinds.vocabulary.vocabulary import (
    Vocabulary,
    VocabularyOptions,
    load_vocabulary,
)

DIGITS = b"zero\none\ntwo\n"


def load(directory: Path, content: bytes = DIGITS, **options: Any) -> Vocabulary:
    """Write a vocabulary and load it."""
    (directory / "vocabulary.txt").write_bytes(content)
    return load_vocabulary(str(directory), read_options(VocabularyOptions, options, "vocabulary"))


def to_ids(vocabulary: Vocabulary, tokens: Any) -> Any:
    """Return the ids of nested lists of tokens."""
    return vocabulary.predict({"token": np.array(tokens, object)}, "token_to_id")["id"].tolist()


def to_tokens(vocabulary: Vocabulary, ids: Any) -> Any:
    """Return the tokens of nested lists of ids."""
    return vocabulary.predict({"id": np.array(ids, np.int64)}, "id_to_token")["token"].tolist()


def test_lines_are_numbered_from_zero(tmp_path: Path) -> None:
    """A token's id is its line, counted from 0, whatever the shape it comes in."""
    vocabulary = load(tmp_path)

    assert to_ids(vocabulary, [b"one", b"zero"]) == [1, 0]
    assert to_ids(vocabulary, [[b"one"], [b"two"]]) == [[1], [2]]
    assert to_tokens(vocabulary, [[2, 0]]) == [[b"two", b"zero"]]


def test_lines_end_as_tensorflow_ends_them(tmp_path: Path) -> None:
    """CR LF and a missing last newline are no part of a token; an empty line is an empty token."""
    vocabulary = load(tmp_path, b"\r\na b\n\xff")

    assert to_tokens(vocabulary, [0, 1, 2]) == [b"", b"a b", b"\xff"]


def test_serving_default_is_the_direction_asked_for(tmp_path: Path) -> None:
    """A label table after a network answers ids without a signature name."""
    vocabulary = load(tmp_path, serving_default="id_to_token")

    assert vocabulary.predict({"id": np.array([1])})["token"].tolist() == [b"one"]
    assert vocabulary.signatures["serving_default"] == vocabulary.signatures["id_to_token"]
    assert load(tmp_path).signatures["serving_default"].inputs.keys() == {"token"}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """Without options for them, unknown tokens and ids are the record's fault."""
    vocabulary = load(tmp_path)

    for number in (3, -1):
        with pytest.raises(InvalidArgumentError, match=f"no id {number}"):
            to_tokens(vocabulary, [0, number])
    with pytest.raises(InvalidArgumentError, match="no token b'three'"):
        to_ids(vocabulary, [b"one", b"three"])
    with pytest.raises(InvalidArgumentError, match="no signature 'x'; known: id_to_token"):
        vocabulary.predict({}, "x")


def test_options_stand_for_what_is_not_there(tmp_path: Path) -> None:
    """One id for unknown tokens, one token for unknown ids."""
    vocabulary = load(tmp_path, oov_id=-1, oov_token="[UNK]")

    assert to_ids(vocabulary, [b"one", b"three"]) == [1, -1]
    assert to_tokens(vocabulary, [[-1, 2, 3]]) == [[b"[UNK]", b"two", b"[UNK]"]]


@given(tokens=st.lists(st.binary(max_size=80), min_size=1, max_size=4))
def test_unknown_tokens_go_where_tensorflow_puts_them(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[bytes]
) -> None:
    """Out-of-vocabulary buckets are those of tf.lookup.StaticVocabularyTable."""
    directory = tmp_path_factory.mktemp("vocabulary")
    vocabulary = load(directory, oov_buckets=5)
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(directory / "vocabulary.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        num_oov_buckets=5,
    )

    assert to_ids(vocabulary, tokens) == table.lookup(tf.constant(tokens)).numpy().tolist()


def test_repeated_token_is_named(tmp_path: Path) -> None:
    """Two ids for one token would be a guess."""
    with pytest.raises(InvalidArgumentError, match="line 3: the token b'a' stands on line 1"):
        load(tmp_path, b"a\nb\na\n")


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The file looked for is named."""
    with pytest.raises(NotFoundError, match=r"vocabulary\.txt: there is no such file"):
        load_vocabulary(str(tmp_path), VocabularyOptions())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"oov_bucket": 1}, "'vocabulary': there is no `oov_bucket`; known are: file"),
        ({"oov_buckets": -1}, "`oov_buckets`"),
        ({"oov_buckets": 1, "oov_id": 0}, "`oov_id` has no use beside `oov_buckets`"),
        ({"serving_default": "both"}, "`serving_default`"),
    ],
)
def test_bad_option_is_named(options: dict[str, object], problem: str) -> None:
    """An option that is wrong says so before anything is loaded."""
    with pytest.raises(InvalidArgumentError, match=problem):
        make_adapter(options, ServablesInMemory())


def test_adapter_loads_and_estimates(tmp_path: Path) -> None:
    """A loader of the adapter brings the vocabulary into memory; the path may be the file."""
    file = tmp_path / "tokens"
    file.write_bytes(b"a\n")
    version = ServableData(ServableId("tokens", 1), StoragePath(str(file)))
    loader = make_adapter({}, ServablesInMemory()).adapt_one_version(version).payload

    loader.load_with_id(version.id)

    assert loader.estimate_resources() == main_ram(50)
    assert to_ids(loader.servable, [b"a"]) == [0]
