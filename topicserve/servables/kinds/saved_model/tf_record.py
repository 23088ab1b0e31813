"""Reads TensorFlow's TFRecord files, one record at a time."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import crc32c

from topicserve.servables.core.errors import DataLossError
from topicserve.servables.sources.regular_files import open_regular_file

# A record is: its length, that length's checksum, its bytes, their checksum.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
# The checksum is stored rotated and shifted, so that a checksum of checksums stays meaningful.
_MASK_DELTA = 0xA282EAD8

# A length that passes its checksum may still be a mistake: a warm-up request is far smaller.
MAX_RECORD_BYTES = 1 << 30


def read_tf_records(path: Path) -> Iterator[bytes]:
    """Yield the records of an uncompressed file, each verified by its checksums.

    Raises DataLossError naming the file and the record where it is damaged or cut short.
    """
    with open_regular_file(path) as file:
        number = 0
        while header := file.read(_HEADER.size):
            yield _read_record(file, header, f"{path}: record {number}")
            number += 1


def masked_crc32c(content: bytes) -> int:
    """Return the checksum as the file format stores it."""
    crc: int = crc32c.crc32c(content)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _read_record(file: BinaryIO, header: bytes, where: str) -> bytes:
    if len(header) < _HEADER.size:
        raise DataLossError(f"{where} is cut short")
    length, checksum = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != checksum or length > MAX_RECORD_BYTES:
        raise DataLossError(
            f"{where} does not begin with a valid length: "
            "the file must be an uncompressed TFRecord of PredictionLog"
        )
    content = file.read(length)
    footer = file.read(_FOOTER.size)
    if len(content) < length or len(footer) < _FOOTER.size:
        raise DataLossError(f"{where} is cut short")
    if masked_crc32c(content) != _FOOTER.unpack(footer)[0]:
        raise DataLossError(f"{where} does not match its checksum")
    return content
