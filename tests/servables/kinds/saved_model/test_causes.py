"""What TensorFlow says of a failure is one line that names the cause and the remedy."""

import pytest

from topicserve.servables.kinds.saved_model.causes import explain

SAVER = """Restoring from checkpoint failed. This is most likely due to X. Original error:

Graph execution error:

Detected at node 'save/RestoreV2' defined at (most recent call last):
  File "train.py", line 7, in <module>
Node: 'save/RestoreV2'
Key weights not found in checkpoint
\t [[{{node save/RestoreV2}}]]

Original stack trace for 'save/RestoreV2':
"""


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (SAVER, "Key weights not found in checkpoint"),
        ("Graph execution error:\n\nIt broke.\n\t [[{{node x}}]]", "It broke."),
        ("no negatives\n\t [[{{node x}}]]", "no negatives"),
        ("Original error:\n\nthe cause\nmore", "the cause"),
        ("Graph execution error:\n\n", "Graph execution error:"),
        ("", ""),
    ],
)
def test_the_cause_is_found(message: str, cause: str) -> None:
    """Behind the general remarks, without the stack."""
    assert explain(message) == cause


def test_an_unknown_op_names_the_option() -> None:
    """The op, and where to name the library that has it."""
    says = explain("Op type not registered 'RegexSplit' in binary running on host. Make sure ...")

    assert says.startswith("Op type not registered 'RegexSplit': install the Python package")
    assert 'op_libraries = ["tensorflow_text"]' in says


def test_a_missing_device_names_the_option() -> None:
    """It may run elsewhere."""
    says = explain("Cannot assign a device for operation x: explicitly assigned to /device:GPU:0")

    assert says.startswith("the option allow_soft_placement = true would use another device: Canno")
