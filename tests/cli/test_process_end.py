"""A process that ends beside a native call ends with the code that its command returned."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support.servables.onnx_files import model, node, save, value
from topicserve.cli.process_end import end_beside_threads

# The command returns while a thread of its own is within ONNX Runtime.
PROGRAM = """
import atexit, sys, threading
import numpy as np
import onnxruntime
from topicserve.cli import commands, main

def run_command(command, words, on_loaded):
    session = onnxruntime.InferenceSession(sys.argv[1])
    feed = {"count": np.array(10**15), "go": np.array(True)}
    began = threading.Event()
    def call():
        began.set()
        session.run(None, feed)
    threading.Thread(target=call, daemon=True).start()
    assert began.wait(60)
    return 7

commands.run_command = run_command
atexit.register(lambda: print("handled"))
sys.exit(main.main())
"""


def a_long_call(directory: Path) -> str:
    """Write a model that adds 1 as often as it is told, and return its path."""
    body = helper.make_graph(
        [
            node("Identity", ["go_in"], ["go_out"]),
            node("Add", ["sum_in", "one"], ["sum_out"]),
        ],
        "body",
        [
            value("index", [], TensorProto.INT64),
            value("go_in", [], TensorProto.BOOL),
            value("sum_in", []),
        ],
        [value("go_out", [], TensorProto.BOOL), value("sum_out", [])],
    )
    made = model(
        [node("Loop", ["count", "go", "zero"], ["sum"], body=body)],
        [value("count", [], TensorProto.INT64), value("go", [], TensorProto.BOOL)],
        [value("sum", [])],
        {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)},
    )
    return f"{save(made, directory)}/model.onnx"


def test_a_native_call_that_still_runs_changes_no_exit_code(tmp_path: Path) -> None:
    """C++ aborts a process whose interpreter ends beside its threads."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, a_long_call(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert (done.returncode, done.stdout) == (7, "handled\n"), done.stderr


@pytest.mark.parametrize("runs", [True, False])
def test_only_a_thread_that_a_command_left_ends_the_process_at_once(
    runs: bool,
) -> None:
    """After what else happens at an exit; without one, the interpreter ends as ever."""
    done: list[object] = []
    before = set(threading.enumerate())
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    if runs:
        thread.start()

    try:
        end_beside_threads(3, before, done.append, lambda: done.append("handlers"))
    finally:
        over.set()

    assert done == (["handlers", 3] if runs else [])
