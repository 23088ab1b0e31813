"""A signature that takes exactly so many rows, made to take any number."""

from collections.abc import Collection

from topicserve.servables.kinds.fixed_rows import predict_in_parts
from topicserve.servables.kinds.saved_model.signature_call import SignatureCall
from topicserve.servables.kinds.servable import Columns, Signature


class FixedRowsCall:
    """Calls the signature as often as the rows need."""

    def __init__(self, call: SignatureCall, rows: int) -> None:
        self._call = call
        self._rows = rows

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._call.signature

    def predict(self, inputs: Columns, outputs: Collection[str] | None = None) -> Columns:
        """Return as many rows as came in."""
        return predict_in_parts(
            lambda part: self._call.predict(part, outputs), inputs, self.signature, self._rows
        )
