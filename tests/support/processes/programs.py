"""Programs that some tests need and that do not come from PyPI."""

import shutil
import subprocess

from tests.support.kafka.kafka_jars import skip_or_fail

RUN_SECONDS = 60.0


def need_program(name: str, debian_package: str) -> str:
    """Return a program's path; without it the test is skipped, and in CI it fails."""
    path = shutil.which(name)
    if path is None:
        skip_or_fail(f"{name} is not here; apt-get install {debian_package}")
    return path


def run_program(*command: str) -> str:
    """Return what a program prints; it must end well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
