"""How far a source is published, in a file that a killed command leaves behind.

The promise: no row is lost, and at most `window.MAX_UNSAVED_ROWS` are sent twice, with the same
ids.
"""

import fcntl
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

import msgspec

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import read_regular
from topicserve.cli.publish.rows import Position
from topicserve.wire.kafka_record import TopicIdentity

VERSION = 1
_MAX_BYTES = 1024 * 1024

# Flags that checkpoints of before have not.
_KEPT_LATER = frozenset(("--redis-url", "--key-prefix"))


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint holds. Everything before the position is published, or skipped."""

    topic: str
    source: dict[str, int | str]
    """What the source was: where it changes meanwhile, positions in it mean nothing."""
    run: str
    """Record ids come from this and the position: a record that is sent twice has one id."""
    position: int | str | None = None
    published: int = 0
    skipped: int = 0
    complete: bool = False
    version: int = VERSION
    flags: dict[str, str] | None = None
    """What decides what the records have; None in a checkpoint that was made before it was kept."""
    cluster_id: str = ""
    """Where the topic is, and which one of its name; empty where that is not known."""
    topic_id: str = ""


class Checkpoint:
    """A state in a file that one command has at a time: it holds a lock on `FILE.lock`.

    The file is replaced as a whole and synced to the disk, so that it is the old or the new state
    after a kill or a loss of power. One thread uses it.
    """

    def __init__(
        self,
        path: str,
        topic: str,
        identity: Mapping[str, object],
        flags: Mapping[str, str] | None = None,
        *,
        force: bool = False,
    ) -> None:
        """Read the file, or begin one. Raises UsageError for one that is of something else.

        With `force` other flags, another cluster and another topic of the name are accepted.
        """
        self.path = Path(path)
        self._force = force
        self._lock = _locked(path)
        try:
            self.state = self._read(topic, msgspec.convert(identity, dict[str, int | str]))
            self._check_flags(dict(flags or {}))
            self._namespace = uuid.UUID(self.state.run)
            self.save(self.state)  # before anything is published: ids come from it
        except BaseException:
            self.close()
            raise

    @property
    def is_begun(self) -> bool:
        """Return whether an earlier command has published something, or everything."""
        return self.state.position is not None or self.state.complete

    def need_topic(self, identity: TopicIdentity | None) -> None:
        """Keep which topic is published to; None where there is none yet.

        Raises UsageError where it is not the one that has the rows before the position: they would
        be missing there, and no one would be told.
        """
        then = TopicIdentity(self.state.cluster_id, self.state.topic_id)
        if self.is_begun and not self._force and (problem := _other_topic(then, identity)):
            raise UsageError(
                f"--checkpoint: {self.path} counts {self.state.published:,} records of topic "
                f"{self.state.topic!r} as published, {problem}; name another checkpoint to publish "
                "all rows there, or go on with the rest with --force"
            )
        if identity is not None and identity != then:
            self.save(msgspec.structs.replace(self.state, **identity._asdict()))

    def record_id(self, position: Position) -> str:
        """Return the id of the record at a position, the same in every run (a UUID version 5)."""
        return str(uuid.uuid5(self._namespace, str(position)))

    def save(self, state: State) -> None:
        """Replace the file; what was there before stays until that is done."""
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise UsageError(f"--checkpoint: {self.path}: {error.strerror}") from error
        self.state = state

    def close(self) -> None:
        """Let other commands have the file."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, topic: str, source: dict[str, int | str]) -> State:
        try:
            content = read_regular(self.path, _MAX_BYTES)
        except FileNotFoundError:
            return State(topic, source, str(uuid.uuid4()))
        except OSError as error:
            raise UsageError(f"--checkpoint: {self.path}: {error.strerror}") from error
        try:
            state = msgspec.json.decode(content, type=State)
            uuid.UUID(state.run)
        except ValueError as error:
            raise UsageError(
                f"--checkpoint: {self.path} is no checkpoint ({error}); name another file"
            ) from error
        for what, now, then in (
            ("topic", topic, state.topic),
            ("file", source, state.source),
        ):
            if now != then:
                raise UsageError(
                    f"--checkpoint: {self.path} is of another {what}, or of one that has changed "
                    f"since ({then}); name another checkpoint, or remove it to begin again"
                )
        return state

    def _check_flags(self, now: dict[str, str]) -> None:
        """Raise UsageError where the other rows would become other records than those before."""
        then = self.state.flags
        if then is not None and not self._force:
            self._compare_flags(now, {name: now[name] for name in _KEPT_LATER & now.keys()} | then)
        self.state = msgspec.structs.replace(self.state, flags=now)

    def _compare_flags(self, now: Mapping[str, str], then: Mapping[str, str]) -> None:
        for flag in sorted(now.keys() | then.keys()):
            if now.get(flag) != then.get(flag):
                raise UsageError(
                    f"--checkpoint: {self.path} was begun {_given(flag, then)}, and now the "
                    f"command is {_given(flag, now)}; give the flags as they were, name another "
                    "checkpoint to begin again, or go on all the same with --force"
                )


def _other_topic(then: TopicIdentity, now: TopicIdentity | None) -> str:
    """Return how a topic differs from the one before, empty where it does not, as far as known."""
    if now is None:
        return "and there is no such topic here now"
    if then.cluster_id and now.cluster_id and then.cluster_id != now.cluster_id:
        return f"in cluster {then.cluster_id}, and this is cluster {now.cluster_id}"
    if then.topic_id and now.topic_id and then.topic_id != now.topic_id:
        return "and the topic was deleted and created again since, or is another cluster's"
    return ""


def _given(flag: str, flags: Mapping[str, str]) -> str:
    if flag not in flags:
        return f"without {flag}"
    return f"with {flag} {flags[flag]}".rstrip()


def _locked(path: str) -> IO[bytes]:
    """Hold a lock as long as the file is open; the checkpoint itself is replaced all the time."""
    try:
        # Not waiting, where the name is that of a pipe.
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        lock = open(os.open(f"{path}.lock", flags, 0o666), "r+b", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"--checkpoint: {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise UsageError(f"--checkpoint: {path} is used by another command") from None
    return lock
