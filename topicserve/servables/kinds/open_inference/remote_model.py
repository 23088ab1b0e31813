"""A model that a server of the Open Inference Protocol serves, as a servable."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from topicserve.protos import open_inference_pb2 as pb
from topicserve.protos.infer_tensors import datatype_of, set_contents, to_raw_contents
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    ResourceExhaustedError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.kinds.fixed_rows import predict_in_parts
from topicserve.servables.kinds.open_inference.answers import columns_of
from topicserve.servables.kinds.open_inference.current_signature import CurrentSignature
from topicserve.servables.kinds.open_inference.model_file import OpenInferenceJson
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.open_inference.signature import Declared, InferenceService
from topicserve.servables.kinds.predict_checks import (
    check_rows,
    check_shape,
    rows_of,
    unknown_signature,
)
from topicserve.servables.kinds.remote.careful_calls import CarefulCalls
from topicserve.servables.kinds.servable import Columns, Signature

SIGNATURE = "serving_default"


class OpenInferenceModel:
    """Predicts by calling a server of the protocol. Any number of threads may call it at once.

    Its one signature is what the server says of the model. Where a call fails, the server is asked
    again: if the signature is another one now, the caller may try again with inputs that fit it.
    """

    returns_new_arrays = True

    def __init__(
        self,
        service: InferenceService,
        model: OpenInferenceJson,
        options: OpenInferenceOptions,
        current: CurrentSignature,
        on_close: Callable[[], None],
    ) -> None:
        self._service = service
        self._model = model
        self._max_batch_size = options.max_batch_size
        self._raw_contents = options.raw_contents
        self._current = current
        self._on_close = on_close
        self._careful = CarefulCalls(options.timeout_seconds)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Return the signature, by its name; UnavailableError while the server is away."""
        return {SIGNATURE: self._current.ask().signature}

    def predict(self, inputs: Columns, signature_name: str = SIGNATURE) -> Columns:
        """Return what the remote model answers: those with rows have as many as came in."""
        return self.predict_outputs(inputs, signature_name, ())

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Ask the remote model for these outputs alone; none stand for all."""
        if signature_name != SIGNATURE:
            raise unknown_signature(signature_name, [SIGNATURE])
        declared = self._current.declared
        try:
            return self._predict(inputs, declared, outputs or declared.signature.outputs)
        except UnavailableError:
            self._current.note_away()
            raise
        except ServableError as error:
            if not error.retriable and not isinstance(error, ResourceExhaustedError):
                self._current.check(declared, error)
            raise

    def cancel_calls(self) -> None:
        """End all calls of the connection: a worker that stops waits for none."""
        self._service.close()

    def close(self) -> None:
        """Give up the connection."""
        self._current.close()
        self._on_close()

    def _predict(self, inputs: Columns, declared: Declared, outputs: Collection[str]) -> Columns:
        signature = declared.signature
        for name, spec in signature.inputs.items():
            if name not in inputs:
                raise InvalidArgumentError(f"input {name!r} is missing")
            check_shape(inputs[name], spec, name)

        def ask(columns: Columns) -> Columns:
            return self._ask(columns, declared, outputs)

        def call(columns: Columns) -> Columns:
            rows = rows_of(columns, signature.inputs)
            if declared.rows_of_a_call is not None:
                return predict_in_parts(ask, columns, signature, declared.rows_of_a_call)
            if self._max_batch_size is not None and (rows or 0) > self._max_batch_size:
                return predict_in_parts(
                    ask, columns, signature, self._max_batch_size, fill_up=False
                )
            return ask(columns)

        return self._careful.predict(call, inputs, signature, tuple(outputs))

    def _ask(self, inputs: Columns, declared: Declared, outputs: Collection[str]) -> Columns:
        rows = rows_of(inputs, declared.signature.inputs)
        response = self._service.model_infer(self._request(inputs, declared, outputs))
        columns = columns_of(response, declared, outputs)
        if rows is not None:
            check_rows(columns, rows, declared.signature.outputs)
        return columns

    def _request(
        self, inputs: Columns, declared: Declared, outputs: Collection[str]
    ) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(
            model_name=self._model.model_name, model_version=self._model.model_version
        )
        for name in declared.signature.inputs:
            column = np.asarray(inputs[name])  # not numpy's scalars
            tensor = request.inputs.add(
                name=name, datatype=datatype_of(column.dtype), shape=column.shape
            )
            if self._raw_contents:
                request.raw_input_contents.append(to_raw_contents(column))
            else:
                set_contents(tensor, column)
        # Named, also where it is all of them: some servers give a part of them otherwise.
        for name in outputs:
            request.outputs.add(name=name)
        return request
