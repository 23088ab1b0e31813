"""TFRecord files are read as TensorFlow writes them, and damage is found."""

from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.errors import DataLossError
from topicserve.servables.kinds.saved_model.tf_record import masked_crc32c, read_tf_records


def write(path: Path, *records: bytes) -> Path:
    """Write a file with TensorFlow's own writer."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


@given(records=st.lists(st.binary(max_size=100), max_size=5))
def test_records_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    """Whatever TensorFlow wrote is read, in its order."""
    file = write(tmp_path_factory.mktemp("records") / "file", *records)

    assert list(read_tf_records(file)) == records


def test_any_flipped_byte_is_found(tmp_path: Path) -> None:
    """Each byte is under a checksum: none can change unseen."""
    file = write(tmp_path / "file", b"first", b"second")
    content = file.read_bytes()

    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(DataLossError, match=f"{file}: record [01] "):
            list(read_tf_records(file))


def test_file_that_is_cut_short_is_found(tmp_path: Path) -> None:
    """A copy that was broken off is damaged, except where it ends between two records."""
    content = write(tmp_path / "file", b"first", b"second").read_bytes()
    first = len(write(tmp_path / "one", b"first").read_bytes())
    file = tmp_path / "cut"

    for size in range(len(content)):
        file.write_bytes(content[:size])
        if size in (0, first):
            assert len(list(read_tf_records(file))) == (0 if size == 0 else 1)
        else:
            with pytest.raises(DataLossError, match="is cut short"):
                list(read_tf_records(file))


def test_length_beyond_reason_is_not_allocated(tmp_path: Path) -> None:
    """A valid checksum over an absurd length does not make anybody ask for the memory."""
    length = (2**40).to_bytes(8, "little")
    file = tmp_path / "file"
    file.write_bytes(length + masked_crc32c(length).to_bytes(4, "little"))

    with pytest.raises(DataLossError, match="must be an uncompressed TFRecord of PredictionLog"):
        list(read_tf_records(file))
