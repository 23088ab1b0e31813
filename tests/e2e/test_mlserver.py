"""The kind `open_inference` and MLServer 1.7.1 itself; part of `make chaos`."""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.docs.pages import CHECKOUT
from tests.support.kafka.port import eventually
from tests.support.open_inference.mlserver import mlserver, published_fields
from tests.support.open_inference.published import CLASSES
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import chaos_only
from tests.support.servables.remote_kinds import load_remote
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.stack import Stack
from topicserve.servables.core.errors import (
    InternalError,
    InvalidArgumentError,
    ServableError,
    UnavailableError,
)
from topicserve.wire.result import Result

pytestmark = [chaos_only, pytest.mark.slow]

START_SECONDS = 180.0
PAGE = (CHECKOUT / "docs/exporting.md").read_text()
DATATYPES = ("FP16", "FP32", "FP64", "INT8", "INT64", "UINT16", "BOOL")
ECHO = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse


class Echo(MLModel):
    async def predict(self, payload):
        outputs = []
        for one in payload.inputs:
            if one.datatype == "BYTES":
                outputs.append(StringCodec.encode_output(one.name, StringCodec.decode_input(one)))
            else:
                column = NumpyCodec.decode_input(one)
                if one.name == "FP32" and (column < 0).any():
                    raise ValueError("negative")
                outputs.append(NumpyCodec.encode_output(one.name, column))
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""


def shown(block: str) -> str:
    """Return a block of docs/exporting.md."""
    (text,) = re.findall(rf"^```{block}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def settings(name: str, tensors: Any) -> str:
    """Return an echo's model-settings.json."""
    return json.dumps(
        {"name": name, "implementation": "echo.Echo", "inputs": tensors, "outputs": tensors}
    )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield where MLServer serves the page's model and two echoes."""
    every = [{"name": one, "datatype": one, "shape": [-1]} for one in (*DATATYPES, "BYTES")]
    models = {
        "halve": {
            "halve.py": shown("python mlserver"),
            "model-settings.json": shown("json mlserver-settings"),
        },
        "echo": {"echo.py": ECHO, "model-settings.json": settings("echo", every)},
        "untold": {"echo.py": ECHO, "model-settings.json": settings("untold", [])},
    }
    with mlserver(tmp_path_factory.mktemp("mlserver") / "models", models) as address:
        yield address


def load(directory: Path, content: Any, target: str, **options: Any) -> Any:
    """Return the model once it is ready."""
    found: list[Any] = []

    def attempt() -> bool:
        with suppress(UnavailableError):
            again = directory / f"{len(list(directory.iterdir()))}"
            found.append(load_remote("open_inference", again, content, target=target, **options))
        return bool(found)

    eventually(attempt, START_SECONDS)
    return found[0]


@pytest.mark.parametrize("raw_contents", [True, False])
def test_every_datatype_of_mlserver_comes_back(
    tmp_path: Path, target: str, raw_contents: bool
) -> None:
    """Raw, and typed where the protocol has typed contents."""
    names = [one for one in (*DATATYPES, "BYTES") if raw_contents or one != "FP16"]
    tensors = [{"name": one, "datatype": one, "shape": [-1]} for one in names]
    content = {"model_name": "echo", "inputs": tensors, "outputs": tensors}
    remote = load(tmp_path, content, target, raw_contents=raw_contents)
    signature = remote.signatures["serving_default"]
    columns = {
        name: np.array(["été".encode(), b""], object)
        if name == "BYTES"
        else np.array([1, 0], signature.inputs[name].dtype)
        for name in names
    }

    found = remote.predict(columns)

    assert {name: (column.dtype, column.tolist()) for name, column in found.items()} == {
        name: (column.dtype, column.tolist()) for name, column in columns.items()
    }
    with pytest.raises(ServableError) as error:
        remote.predict({**columns, "FP32": -columns["FP32"]})
    assert type(error.value) is InternalError
    remote.close()


def test_a_model_that_declares_nothing_is_named(tmp_path: Path, target: str) -> None:
    """MLServer knows of no inputs then; and so is a model that is not there."""
    load(tmp_path, {"model_name": "halve"}, target).close()

    with pytest.raises(ServableError, match="does not say what inputs model 'untold' has"):
        load_remote("open_inference", tmp_path / "untold", {"model_name": "untold"}, target=target)
    with pytest.raises(ServableError, match=r"Model none .* not found"):
        load_remote("open_inference", tmp_path / "none", {"model_name": "none"}, target=target)


def test_what_mlserver_refuses_is_the_inputs_fault(tmp_path: Path, target: str) -> None:
    """Numbers that it cannot decode."""
    remote = load(tmp_path, {"model_name": "halve"}, target)

    with pytest.raises(InvalidArgumentError):
        remote.predict({"x": np.ones((1, 3), np.float32)})
    remote.close()


def test_fields_are_those_of_mlserver() -> None:
    """The published ones that our messages are compared with, but for two that came later."""
    fields = {
        f"{name}.{field.name} {field.number} {getattr(field.message_type, 'name', field.type)}"
        for name, made in CLASSES.items()
        for field in made.DESCRIPTOR.fields
    }

    newer = {"InferParameter.double_param 4 1", "InferParameter.uint64_param 5 4"}
    assert fields - set(published_fields()) == newer


def test_the_pages_model_answers_a_real_worker(tmp_path: Path, target: str) -> None:
    """By the version and the entry of docs/exporting.md; a bad row is given up alone."""
    load(tmp_path, {"model_name": "halve"}, target).close()
    version = tmp_path / "models/1"
    version.mkdir(parents=True)
    (version / "open_inference.json").write_text(shown("json mlserver-version"))
    (served,) = tomllib.loads(shown("toml mlserver"))["servables"]
    options = {**served["options"], "target": target}
    servables = [{**served, "base_path": str(tmp_path / "models"), "options": options}]
    good, bad = [a_record([n, 4.0], metadata={"n": n}) for n in range(500)], a_record([1.0])

    def check(sent: Sent, result: Result) -> None:
        assert result.value == [sent.instance[0] / 2 + 2, 4.0]

    with (
        Stack() as stack,
        Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path, servables, check)
        ) as deployment,
    ):
        deployment.start(deployment.worker())
        deployment.traffic.publish([*good[:100], bad, *good[100:]])
        deployment.traffic.until_answered(START_SECONDS)

        assert deployment.traffic.seen.answers.keys() == {one.key for one in good}
        assert deployment.traffic.seen.reasons == {bad.key: "invalid_input"}
