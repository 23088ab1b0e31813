"""Apache Kafka's jars, brought by Maven into the checkout's cache, and what runs them."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

# The first is what `make test` runs on; `make chaos` runs the conformance suites on the others too.
KAFKA_VERSIONS = ("4.3.1", "4.4.0")
KAFKA_VERSION = os.environ.get("TOPICSERVE_KAFKA_VERSION", KAFKA_VERSIONS[0])
CACHE = Path(__file__).parents[3] / ".cache" / f"apache-kafka-{KAFKA_VERSION}"

# Enough for tests: a small heap, the collector and the compiler that start soonest.
JAVA = (
    "java",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
}

_MAVEN_LIMIT_SECONDS = 600
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>topicserve</groupId><artifactId>apache-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{version}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test that cannot run here; with CI=true it fails, and outside pytest it is an error.

    What no one runs proves nothing: a machine that decides over a change must have it all.
    """
    if "PYTEST_VERSION" not in os.environ:
        raise RuntimeError(reason)
    import pytest

    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (with CI=true nothing is skipped)", pytrace=False)
    pytest.skip(reason)


def classpath() -> str:
    """Return the class path of Apache Kafka's jars, which Maven brings the first time."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            skip_or_fail(f"Apache Kafka needs Java 17 and Maven: no {program} on the PATH")
    return _classpath()


@cache
def _classpath() -> str:
    libs = CACHE / "libs"
    with locked(CACHE):
        if not libs.exists():
            _bring_jars(libs)
    return f"{libs}/*"


def _bring_jars(libs: Path) -> None:
    # Copied to a side and renamed when complete: an interrupted copy is never taken for the jars.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        Path(scratch, "pom.xml").write_text(_POM.format(version=KAFKA_VERSION))
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"]
        maven = subprocess.run(
            ["mvn", "-q", "-B", *goal],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_MAVEN_LIMIT_SECONDS,
            check=False,
        )
        if maven.returncode != 0:
            raise RuntimeError(f"Maven could not bring Apache Kafka's jars:\n{maven.stdout}")
        Path(scratch, "libs").rename(libs)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; anyone who runs tests beside us waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_tool(
    tool: str, arguments: Sequence[str], stdin: str = "", limit_seconds: float = 60
) -> str:
    """Run one of Apache Kafka's own console tools and return what it wrote to stdout."""
    command = [*JAVA, "-cp", classpath(), TOOLS[tool], *arguments]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=limit_seconds, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{tool} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    print(*KAFKA_VERSIONS[1:])  # for the Makefile
