"""Makes the files beside this script: small models of PyTorch, scikit-learn and TensorFlow.

    python tests/servables/kinds/onnx/export_files.py pytorch         pip install torch onnxscript
    python tests/servables/kinds/onnx/export_files.py scikit_learn    pip install skl2onnx
    python tests/servables/kinds/onnx/export_files.py tensorflow      pip install tf2onnx tensorflow

The exporters are large and want versions of their own, so each runs in an environment of its own
and the files are kept. Beside each model, a JSON file says what its library predicts for some rows.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FILES = Path(__file__).parent / "files"
SEED = 0


def write(name: str, model: bytes, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Write a model, and what goes in and comes out."""
    import onnx

    parsed = onnx.load_from_string(model)
    parsed.graph.ClearField("doc_string")  # it names a temporary folder
    for node in parsed.graph.node:  # PyTorch writes which lines of which files made it
        node.ClearField("metadata_props")
    listed = [
        {key: np.asarray(one).tolist() for key, one in side.items()} for side in (inputs, outputs)
    ]
    (FILES / f"{name}.onnx").write_bytes(parsed.SerializeToString())
    content = json.dumps({"inputs": listed[0], "outputs": listed[1]}, indent=1)
    (FILES / f"{name}.json").write_text(f"{content}\n")


def some_rows(*shape: int) -> Any:
    """Return the same few numbers each time."""
    return np.round(np.random.default_rng(SEED).standard_normal(shape), 3).astype(np.float32)


def pytorch() -> None:
    """Export a classifier with a named batch dimension, and a model of two numbers of rows."""
    import torch

    torch.manual_seed(SEED)

    def exported(module: Any, names: Mapping[str, str], outputs: list[str]) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.onnx")
            torch.onnx.export(
                module,
                tuple(torch.zeros(count, 4) for count in range(2, 2 + len(names))),
                file,
                dynamo=True,
                input_names=list(names),
                output_names=outputs,
                dynamic_shapes=tuple({0: name} for name in names.values()),
                external_data=False,
            )
            return file.read_bytes()

    layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(-1)]
    network = torch.nn.Sequential(*layers)
    rows = some_rows(5, 4)
    write(
        "pytorch_network",
        exported(network, {"features": "batch"}, ["probabilities"]),
        {"features": rows},
        {"probabilities": network(torch.from_numpy(rows)).detach()},
    )

    class Similarity(torch.nn.Module):  # type: ignore[misc]
        def forward(self, texts: Any, images: Any) -> Any:
            return texts @ images.T

    texts, images = some_rows(2, 4), some_rows(3, 4)
    write(
        "pytorch_similarity",
        exported(Similarity(), {"texts": "texts", "images": "images"}, ["scores"]),
        {"texts": texts, "images": images},
        {"scores": texts @ images.T},
    )


def scikit_learn() -> None:
    """Export classifiers with labels that are strings, one with a dictionary of probabilities."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features, numbers = load_iris(return_X_y=True)
    features = features.astype(np.float32)
    species = np.array(["setosa", "versicolor", "virginica"])[numbers]
    rows = features[::30]
    forest = RandomForestClassifier(5, max_depth=3, random_state=SEED).fit(features, species)
    write(
        "scikit_learn_forest",
        to_onnx(forest, features[:1], options={"zipmap": False}).SerializeToString(),
        {"X": rows},
        {"label": forest.predict(rows), "probabilities": forest.predict_proba(rows)},
    )
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    logistic.fit(features, numbers)
    write(
        "scikit_learn_zipmap",
        to_onnx(logistic, features[:1]).SerializeToString(),
        {"X": rows},
        {"output_label": logistic.predict(rows)},
    )
    countries = np.array([["fr"], ["de"], ["été"]], object)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(countries)
    given = np.array([["été"], ["us"], ["de"]], object)
    text = [("country", StringTensorType([None, 1]))]
    write(
        "scikit_learn_words",
        to_onnx(encoder, initial_types=text).SerializeToString(),
        {"country": given},
        {"variable": encoder.transform(given)},
    )


def tensorflow() -> None:
    """Export a Keras model through tf2onnx, whose names for unknown sizes are made up."""
    import subprocess

    import keras

    keras.utils.set_random_seed(SEED)
    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((4,), name="right")}
    hidden = keras.layers.Dense(8, activation="relu")(keras.layers.Add()(list(inputs.values())))
    outputs = keras.layers.Dense(3, activation="softmax")(hidden)
    model = keras.Model(inputs, {"probabilities": outputs})
    given = {"left": some_rows(5, 4), "right": some_rows(5, 4)[::-1]}
    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/saved", verbose=False)
        file = f"{folder}/model.onnx"
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", f"{folder}/saved"]
        subprocess.run([*command, "--output", file], check=True)
        expected = model.predict(given, verbose=0)
        write("tensorflow_network", Path(file).read_bytes(), given, expected)


EXPORTERS: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (pytorch, scikit_learn, tensorflow)
}

if __name__ == "__main__":
    EXPORTERS[sys.argv[1]]()
