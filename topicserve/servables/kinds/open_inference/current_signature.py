"""The signature that a remote model has now: a server may be replaced by one with another."""

import logging
import threading
import time
from collections.abc import Callable

from topicserve.servables.core.errors import ServableError, UnavailableError
from topicserve.servables.kinds.open_inference.model_file import OpenInferenceJson
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.open_inference.signature import (
    Declared,
    InferenceService,
    read_declared,
)

_logger = logging.getLogger(__name__)


class CurrentSignature:
    """Knows what the model takes and gives, and asks the server again. Any thread may call it.

    `declared` is what the server said last. Making one asks for it, and raises what `read_declared`
    does.
    """

    def __init__(
        self,
        service: InferenceService,
        model: OpenInferenceJson,
        options: OpenInferenceOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._model = model
        self._options = options
        self._call_seconds = options.timeout_seconds
        self._interval_seconds = options.metadata_interval_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._changed_at: float | None = None
        self._is_away = False
        self.declared = self._read()

    def ask(self) -> Declared:
        """Return what the model takes and gives; the server is asked where it was away.

        What comes back may be another model.
        """
        return self.refresh() if self._is_away else self.declared

    def note_away(self) -> None:
        """Note that the server did not answer."""
        self._is_away = True

    def refresh(self) -> Declared:
        """Ask the server, and return what it says.

        Raises UnavailableError where it says nothing, or what no column can be: that is no record's
        fault.
        """
        try:
            found = self._read()
        except ServableError as error:
            self._is_away = True
            if error.retriable:
                raise
            raise UnavailableError(str(error)) from error
        with self._lock:
            self._is_away = False
            if found != self.declared:
                self.declared, self._changed_at = found, self._clock()
                _logger.warning(
                    "model %s: the server has another signature now", self._model.model_name
                )
        return found

    def check(self, declared: Declared, error: ServableError) -> None:
        """Raise UnavailableError where a call failed because the signature is another one now.

        `declared` is what the call was made for. Callers who made their inputs for the signature of
        before may still come with them, for as long as one call may take.
        """
        found = self.refresh()
        with self._lock:
            changed_at = self._changed_at
        is_recent = changed_at is not None and self._clock() - changed_at < self._call_seconds
        if found != declared or is_recent:
            raise UnavailableError(
                f"the server has another signature of model {self._model.model_name!r} now: {error}"
            ) from error

    def watch(self) -> None:
        """Start to ask the server at intervals, until `close`.

        Without it, records that fit the new signature alone would be refused before any call.
        """
        threading.Thread(target=self._watch, name="model-metadata", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._is_closed.set()

    def _watch(self) -> None:
        while not self._is_closed.wait(self._interval_seconds):
            try:
                self.refresh()
            except ServableError as error:
                _logger.debug("model %s: %s", self._model.model_name, error)
            except Exception:
                if not self._is_closed.is_set():  # the connection may be closed meanwhile
                    _logger.exception("model %s: cannot be asked for", self._model.model_name)

    def _read(self) -> Declared:
        return read_declared(self._service, self._model, self._options)
