"""A servable that writes all answers into one buffer, as interpreters with bound outputs do."""

import numpy as np

from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec

FLOAT32 = np.dtype(np.float32)


class OneBuffer:
    """Multiplies `x` by `factor`, which belongs to the call."""

    def __init__(self) -> None:
        number = TensorSpec(FLOAT32, ())
        factor = TensorSpec(FLOAT32, (), Scope.CALL)
        self.signatures = {
            "serving_default": Signature({"x": number, "factor": factor}, {"y": number})
        }
        self._buffer = np.zeros(1024, np.float32)

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        assert signature_name in self.signatures
        rows = self._buffer[: len(inputs["x"])]
        np.multiply(inputs["x"], inputs["factor"], out=rows)
        return {"y": rows}
