from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import structs

from topicserve.backends import offset_texts
from topicserve.backends.broker import OffsetAndMetadata, metadata_of
from topicserve.backends.confluent import offsets as confluent_offsets
from topicserve.backends.kafka_python import offsets as kafka_python_offsets
from topicserve.wire.kafka_record import TopicPartition

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(TEXTS, TEXTS)
def test_a_text_is_read_as_it_was_written(text: str, behind: str) -> None:
    """Whatever a client reads behind it."""
    written = offset_texts.written(text)

    assert offset_texts.read(written) == text
    assert offset_texts.read(written + behind if text else "") == text


def test_what_kafka_python_commits_has_an_end_that_librdkafka_sees() -> None:
    """It reads on in memory otherwise; no text has none."""
    partition = TopicPartition("in", 0)
    ((_, own),) = kafka_python_offsets.to_client({partition: OffsetAndMetadata(7, "a")}).items()
    ((_, none),) = kafka_python_offsets.to_client({partition: 7}).items()

    assert (own.metadata, none.metadata) == ("a\0", "")
    read = kafka_python_offsets.from_client(structs.OffsetAndMetadata(7, "a\0", -1))
    assert metadata_of(read or 0) == "a"


class Garbled:
    """An answer of librdkafka's with memory behind another program's text."""

    offset = 7

    @property
    def metadata(self) -> str:
        return b"theirs\xee".decode()


@pytest.mark.parametrize("answer", [Garbled(), SimpleNamespace(offset=7, metadata="theirs?")])
def test_a_text_without_an_end_is_no_error(answer: object) -> None:
    """It may end in the middle of a character, and is no text of ours."""
    found = confluent_offsets.from_client(answer)

    assert found == 7
    assert metadata_of(found).startswith("theirs")
