import numpy as np

from topicserve.demo.digits import CLASSES, Network, load_digits, train


def a_network() -> Network:
    """Return a small network in double precision, so that differences can be taken."""
    rng = np.random.default_rng(1)
    return Network(
        rng.standard_normal((5, 4)),  # type: ignore[arg-type]
        rng.standard_normal(4),  # type: ignore[arg-type]
        rng.standard_normal((4, CLASSES)),  # type: ignore[arg-type]
        rng.standard_normal(CLASSES),  # type: ignore[arg-type]
    )


def test_all_images_are_there() -> None:
    """1,797 of 8 x 8 pixels from 0 to 1, each with its digit."""
    digits = load_digits()

    assert digits.pixels.shape == (1797, 64)
    assert digits.pixels.dtype == np.float32
    assert (digits.pixels.min(), digits.pixels.max()) == (0, 1)
    assert set(digits.labels) == set(range(10))


def test_a_later_version_knows_better() -> None:
    """A few passes over the images make a weak version, many a good one, on images unseen."""
    digits = load_digits()
    unseen = digits.held_out

    weak, good = (
        train(digits, epochs).accuracy(digits.pixels[unseen], digits.labels[unseen])
        for epochs in (1, 40)
    )

    assert weak > 0.8
    assert good > 0.96
    assert good > weak


def test_training_gives_the_same_network_every_time() -> None:
    """What a run shows can be shown again."""
    digits = load_digits()

    first, second = train(digits, 1), train(digits, 1)

    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_are_the_slope_of_the_loss() -> None:
    """Each agrees with the difference that a small change makes."""
    network = a_network()
    rng = np.random.default_rng(2)
    pixels, labels = rng.random((7, 5)), rng.integers(0, CLASSES, 7)

    def loss(changed: Network) -> float:
        hidden = np.maximum(pixels @ changed.hidden_kernel + changed.hidden_bias, 0)
        logits = hidden @ changed.kernel + changed.bias
        log_sum = np.log(np.exp(logits).sum(axis=1))
        return float(np.mean(log_sum - logits[np.arange(len(labels)), labels]))

    gradients = network.gradients(pixels, labels)  # type: ignore[arg-type]

    for index, gradient in enumerate(gradients):
        parameters = [parameter.copy() for parameter in network.parameters()]
        place = (0,) * parameters[index].ndim
        parameters[index][place] += 1e-6
        slope = (loss(Network(*parameters)) - loss(network)) / 1e-6
        np.testing.assert_allclose(gradient[place], slope, atol=1e-4)
