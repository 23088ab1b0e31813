"""A connection with TLS is one to the server that its authority vouches for, and to no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.kafka.certificates import make_certificates
from tests.support.open_inference.server import InferenceServer, serving
from topicserve.servables.core.errors import UnavailableError

Load = Callable[..., Any]
X = {"x": np.array([[2, 4]], np.float32)}


def test_both_sides_are_known_to_one_another(
    tmp_path: Path, server: InferenceServer, load: Load
) -> None:
    """By the files that the options name; another side, or none, is not called."""
    one, other = (make_certificates(tmp_path / name) for name in ("one", "other"))
    pair = one.key.read_bytes(), one.certificate.read_bytes()
    credentials = grpc.ssl_server_credentials(
        [pair], one.authority.read_bytes(), require_client_auth=True
    )
    client = {"private_key": str(one.key), "certificate_chain": str(one.certificate)}
    known = {"root_certificates": str(one.authority), **client}
    with serving(server, credentials=credentials) as target:
        assert load(target, tls=known, timeout_seconds=60).predict(X)["y"].tolist() == [[3, 4]]

        for tls in ({**known, "root_certificates": str(other.authority)}, None):
            with pytest.raises(UnavailableError):
                load(target, tls=tls, max_attempts=1, timeout_seconds=60)
