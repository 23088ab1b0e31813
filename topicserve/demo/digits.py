"""The 1,797 handwritten digits that scikit-learn ships, and a small network that learns them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_SEED = 7
_HIDDEN = 64
_BATCH_ROWS = 32
_LEARNING_RATE = 0.005
_HELD_OUT_EVERY = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Digits:
    """Images [rows, 64] with pixels from 0 to 1, and their true digits [rows]."""

    pixels: Floats
    labels: NDArray[np.int64]

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which rows [rows] no network is trained on: every fourth."""
        return np.asarray(np.arange(len(self.labels)) % _HELD_OUT_EVERY == 0, np.bool_)


def load_digits() -> Digits:
    """Return all images, in scikit-learn's order."""
    from sklearn import datasets  # takes a second

    found = datasets.load_digits()
    return Digits((found.data / 16).astype(np.float32), found.target.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Network:
    """Two dense layers: ReLU between them, softmax at the end. Kernels are [inputs, outputs]."""

    hidden_kernel: Floats
    hidden_bias: Floats
    kernel: Floats
    bias: Floats

    def probabilities(self, pixels: Floats) -> Floats:
        """Return [rows, 10], each row summing to 1."""
        return _softmax(self._hidden(pixels) @ self.kernel + self.bias)

    def accuracy(self, pixels: Floats, labels: NDArray[np.int64]) -> float:
        """Return the share of rows whose likeliest digit is the true one."""
        return float(np.mean(self.probabilities(pixels).argmax(axis=1) == labels))

    def parameters(self) -> tuple[Floats, ...]:
        """Return kernels and biases in the order of the fields."""
        return self.hidden_kernel, self.hidden_bias, self.kernel, self.bias

    def _hidden(self, pixels: Floats) -> Floats:
        return np.asarray(np.maximum(pixels @ self.hidden_kernel + self.hidden_bias, 0), np.float32)

    def gradients(self, pixels: Floats, labels: NDArray[np.int64]) -> tuple[Floats, ...]:
        """Return the mean cross-entropy's gradient for each of `parameters()`."""
        hidden = self._hidden(pixels)
        error = self.probabilities(pixels)
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        hidden_error = (error @ self.kernel.T) * (hidden > 0)
        return (
            pixels.T @ hidden_error,
            hidden_error.sum(axis=0),
            hidden.T @ error,
            error.sum(axis=0),
        )


def train(digits: Digits, epochs: int) -> Network:
    """Return a network trained for so many passes over the rows that are not held out.

    The same every time: the order of rows and the first weights come from one seed. Optimizer:
    Adam (Kingma and Ba, 2015) with its usual constants.
    """
    rng = np.random.default_rng(_SEED)
    parameters = [
        _first_weights(rng, digits.pixels.shape[1], _HIDDEN),
        np.zeros(_HIDDEN, np.float32),
        _first_weights(rng, _HIDDEN, CLASSES),
        np.zeros(CLASSES, np.float32),
    ]
    means = [np.zeros_like(parameter) for parameter in parameters]
    squares = [np.zeros_like(parameter) for parameter in parameters]
    step = 0
    for _ in range(epochs):
        rows = rng.permutation(np.flatnonzero(~digits.held_out))
        for start in range(0, len(rows), _BATCH_ROWS):
            batch = rows[start : start + _BATCH_ROWS]
            gradients = Network(*parameters).gradients(digits.pixels[batch], digits.labels[batch])
            step += 1
            _adam(parameters, gradients, means, squares, step)
    return Network(*parameters)


def _adam(
    parameters: list[Floats],
    gradients: tuple[Floats, ...],
    means: list[Floats],
    squares: list[Floats],
    step: int,
) -> None:
    """Move the parameters one step, in place."""
    for parameter, gradient, mean, square in zip(
        parameters, gradients, means, squares, strict=True
    ):
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient**2 - square)
        rate = _LEARNING_RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        parameter -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))


def _first_weights(rng: np.random.Generator, inputs: int, outputs: int) -> Floats:
    weights = rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)
    return np.asarray(weights, np.float32)


def _softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)
