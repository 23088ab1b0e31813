"""The job in a custom runtime of MLServer's with adaptive batching; MLServer reads Kafka."""

import os
from typing import Any

import numpy as np
import redis.asyncio
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.hand_loops.job import Places, load_saved_model


class NetworkRuntime(MLModel):  # type: ignore[misc]  # is not in our environment
    """The network, and the metadata of each record beside its probabilities."""

    async def load(self) -> bool:
        """Load the network."""
        places = Places.from_environment()
        self._model, _ = load_saved_model(places.model, threads=1)
        self._store: Any = redis.asyncio.Redis.from_url(os.environ["REDIS"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer the requests that MLServer has made one of."""
        inputs = {one.name: one for one in payload.inputs}
        rows = NumpyCodec.decode_input(inputs["x"]).astype(np.float32)
        ids = StringCodec.decode_input(inputs["id"])
        metadata = await self._store.mget(["meta:" + record_id for record_id in ids])
        texts = [found.decode() if found else "" for found in metadata]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("probabilities", self._model(rows)),
                StringCodec.encode_output("metadata", texts),
            ],
        )
