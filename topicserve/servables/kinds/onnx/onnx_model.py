"""An ONNX model in a session of ONNX Runtime."""

import logging
import os
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
)
from topicserve.servables.kinds.fixed_rows import predict_in_parts
from topicserve.servables.kinds.onnx.declared_shapes import names_with_shape
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.onnx.other_files import hint_of_content, hint_of_names
from topicserve.servables.kinds.onnx.runtime import OnnxSession
from topicserve.servables.kinds.onnx.signature import OnnxSignature, read_onnx_signature
from topicserve.servables.kinds.onnx.training_mode import read_training_mode
from topicserve.servables.kinds.predict_checks import (
    check_rows,
    check_shape,
    rows_of,
    unknown_signature,
)
from topicserve.servables.kinds.servable import Columns

SIGNATURE = "serving_default"

_logger = logging.getLogger(__name__)


class OnnxModel:
    """A loaded ONNX model. Its one signature has the inputs and outputs of its graph.

    `predict` may be called by any number of threads; `close` only after the last of them.
    """

    returns_new_arrays = True

    def __init__(self, session: OnnxSession, found: OnnxSignature) -> None:
        self._session = session
        self._signature = found.signature
        self._rows_of_a_call = found.rows_of_a_call
        self._strings = [n for n, spec in found.signature.inputs.items() if spec.dtype.hasobject]
        self._outputs = list(found.signature.outputs)
        self.signatures = {SIGNATURE: found.signature}

    @classmethod
    def load(cls, path: str, options: OnnxOptions) -> "OnnxModel":
        """Load the model in a version's directory.

        Raises NotFoundError where its file is missing, DataLossError where it is damaged,
        UnimplementedError where ONNX Runtime has not what it needs, InvalidArgumentError where it
        is no valid model, FailedPreconditionError where its external data, a library or a GPU is
        missing, each naming the file.
        """
        file = path if os.path.isfile(path) else os.path.join(path, options.file)
        if not os.path.isfile(file):
            hint = hint_of_names(path, options.file)
            raise NotFoundError(f"{file}: there is no such file{hint}")
        try:
            session = OnnxSession(file, options)
            try:
                _check_training_mode(file)
                found = _read_signature(session, file, options.batch_records)
            except BaseException:
                session.close()
                raise
        except DataLossError as error:
            raise DataLossError(f"{file}: {error}{hint_of_content(file)}") from error
        except ServableError as error:
            raise type(error)(f"{file}: {error}") from error
        _log_what_is_odd(file, found)
        return cls(session, found)

    def predict(self, inputs: Columns, signature_name: str = SIGNATURE) -> Columns:
        """Return the outputs, those with rows of as many as came in.

        What ONNX Runtime raises comes as the ServableError of its status.
        """
        return self.predict_outputs(inputs, signature_name, self._outputs)

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Return these outputs, and run what they need alone."""
        if signature_name != SIGNATURE:
            raise unknown_signature(signature_name, self.signatures)
        if self._rows_of_a_call is None:
            return self._run(inputs, outputs)
        return predict_in_parts(
            lambda part: self._run(part, outputs), inputs, self._signature, self._rows_of_a_call
        )

    def _run(self, inputs: Columns, outputs: Collection[str]) -> Columns:
        specs = self._signature.inputs
        feeds: dict[str, Any] = {}
        for name, spec in specs.items():
            if name not in inputs:
                raise InvalidArgumentError(f"input {name!r} is missing")
            check_shape(inputs[name], spec, name)
            feeds[name] = np.asarray(inputs[name])  # not numpy's scalars
        rows = rows_of(inputs, specs)
        for name in self._strings:
            feeds[name] = _as_text(feeds[name], name)
        names = list(outputs)
        found = self._session.run(names, feeds)
        columns = {name: _as_bytes(value) for name, value in zip(names, found, strict=True)}
        if rows is not None:
            check_rows(columns, rows, self._signature.outputs)
        return columns

    def close(self) -> None:
        """Give the memory back."""
        self._session.close()


def _check_training_mode(file: str) -> None:
    found = read_training_mode(file)
    if found.has_batch_normalization:
        raise InvalidArgumentError(
            "a BatchNormalization is in training mode: each call would change its running mean and "
            "variance, and so later answers. Export the model for inference (PyTorch: "
            "model.eval(), and training=torch.onnx.TrainingMode.EVAL)"
        )
    if found.has_dropout:
        _logger.warning(
            "%s: a Dropout is in training mode, so answers are random; export the model for "
            "inference (PyTorch: model.eval(), and training=torch.onnx.TrainingMode.EVAL)",
            file,
        )


def _read_signature(session: OnnxSession, file: str, batch_records: bool | None) -> OnnxSignature:
    inputs, outputs = session.values()
    if any(not value.shape for value in (*inputs, *outputs)):
        # One without dimensions is a scalar only where the file says so.
        declared = names_with_shape(file)
        inputs, outputs = (
            [one if one.shape or one.name in declared else one._replace(shape=None) for one in side]
            for side in (inputs, outputs)
        )
    return read_onnx_signature(inputs, outputs, batch_records)


def _log_what_is_odd(file: str, found: OnnxSignature) -> None:
    if found.left_out:
        # What zipmap makes is a sequence of maps; without it a MultiOutputClassifier has tensors.
        is_zipped = any("map(" in one for one in found.left_out)
        _logger.warning(
            "%s: outputs that are no plain tensors are left out: %s%s",
            file,
            ", ".join(found.left_out)[:500],
            " (skl2onnx: export with options={'zipmap': False})" if is_zipped else "",
        )
    if found.reason_alone is not None:
        _logger.info(
            "%s: called for each record alone (option batch_records): %s", file, found.reason_alone
        )


def _as_text(column: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the strings as ONNX Runtime takes them: bytes it would write as b'...'."""
    text = np.empty(column.size, object)
    try:
        text[:] = [one.decode() for one in column.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"input {name!r}: a string is not UTF-8: {error}") from None
    return text.reshape(column.shape)


def _as_bytes(value: Any) -> NDArray[Any]:
    column = np.asarray(value)
    if not column.dtype.hasobject:
        return column
    found = np.empty(column.size, object)
    found[:] = [one.encode() for one in column.reshape(-1).tolist()]
    return found.reshape(column.shape)
