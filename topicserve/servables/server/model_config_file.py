"""Reads TF Serving's --model_config_file: a ModelServerConfig in protobuf's text format."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from google.protobuf import text_format

from topicserve.protos.model_server_config_pb2 import (
    TENSORFLOW,
    ModelConfig,
    ModelServerConfig,
)
from topicserve.servables.core.errors import InvalidArgumentError, ServableError
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.servables.sources.regular_files import read_regular_file

MAX_FILE_BYTES = 16 * 1024 * 1024
_logger = logging.getLogger(__name__)


def parse_model_config(text: str, kinds: Collection[str]) -> list[ServableConfig]:
    """Return the servables of a `model_config_list`; InvalidArgumentError says what is wrong.

    `model_platform: "tensorflow"` is our kind saved_model; any other kind goes by its own name. A
    `logging_config` is accepted and not acted on.
    """
    config = _parsed(text)
    if config.WhichOneof("config") == "custom_model_config":
        raise InvalidArgumentError("custom_model_config cannot be served; use model_config_list")
    return [_servable(model, kinds) for model in config.model_config_list.config]


def is_unset(text: str) -> bool:
    """Return whether a file has no configuration in it: it is empty, or has comments alone.

    A file that is being written is empty for a moment. `model_config_list {}` is not: it asks for
    nothing to be served, on purpose.
    """
    try:
        return _parsed(text).WhichOneof("config") is None
    except InvalidArgumentError:
        return False


def _parsed(text: str) -> ModelServerConfig:
    config = ModelServerConfig()
    try:
        return text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise InvalidArgumentError(f"not a ModelServerConfig in text format: {error}") from None


def _servable(model: ModelConfig, kinds: Collection[str]) -> ServableConfig:
    if not model.name:
        raise InvalidArgumentError("a config of model_config_list has no name")
    if not model.base_path:
        raise InvalidArgumentError(f"model {model.name}: base_path is missing")
    if model.HasField("logging_config"):
        _logger.warning("model %s: its logging_config has no effect here", model.name)
    return ServableConfig(
        model.name,
        model.base_path,
        _kind(model, kinds),
        _version_policy(model),
        dict(model.version_labels),
    )


def _kind(model: ModelConfig, kinds: Collection[str]) -> str:
    if model.model_type and model.model_platform:
        raise InvalidArgumentError(
            f"model {model.name}: model_type and model_platform exclude each other; "
            "leave model_type out"
        )
    platform = "tensorflow" if model.model_type == TENSORFLOW else model.model_platform
    if platform == "tensorflow":
        return "saved_model"
    if platform in kinds:
        return platform
    raise InvalidArgumentError(
        f"model {model.name}: model_platform {platform!r} is not known; there are tensorflow, "
        + ", ".join(sorted(kinds))
    )


def _version_policy(model: ModelConfig) -> VersionPolicy:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(VersionPolicyKind.ALL)
    if choice == "specific":
        return VersionPolicy(VersionPolicyKind.SPECIFIC, versions=tuple(policy.specific.versions))
    return VersionPolicy(num_versions=policy.latest.num_versions or 1)


class ModelConfigFile:
    """Follows the file: what is new in it is taken over; what is bad is refused whole, once."""

    def __init__(
        self,
        path: str,
        kinds: Callable[[], Collection[str]],
        take_over: Callable[[list[ServableConfig]], None],
    ) -> None:
        self._path = Path(path)
        self._kinds = kinds
        self._take_over = take_over
        self._text: str | None = None

    def read(self) -> list[ServableConfig]:
        """Return what the file says now; InvalidArgumentError naming it."""
        self._text = self._read_text()
        return self._parse(self._text)

    def poll(self) -> None:
        """Take over what the file says, where that has changed; log what is wrong with it."""
        try:
            text = self._read_text()
            if text == self._text:
                return
            self._text = text  # before anything can fail: a bad file is refused once
            if is_unset(text):  # as ServerCore::ReloadConfig of TF Serving
                _logger.warning("model config file %s is empty, the previous one stays", self._path)
                return
            self._take_over(self._parse(text))
        except ServableError as error:
            _logger.error("model config file rejected, the previous one stays: %s", error)
        else:
            _logger.info("model config file %s applied", self._path)

    def _read_text(self) -> str:
        try:
            return read_regular_file(self._path, MAX_FILE_BYTES).decode()
        except (ServableError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(
                f"model_config_file {self._path} cannot be read: {error}"
            ) from error

    def _parse(self, text: str) -> list[ServableConfig]:
        try:
            return parse_model_config(text, self._kinds())
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"model_config_file {self._path}: {error}") from None
