"""The worker's bodies, as [bodies] names them."""

from topicserve.wire.bodies.options import BodyError
from topicserve.wire.bodies.registry import Bodies, load_body
from topicserve.worker.config.schema import ConfigError, WorkerConfig


def open_bodies(config: WorkerConfig) -> Bodies:
    """Return the bodies with what is configured loaded; ConfigError naming the table at fault."""
    loaded, key = {}, "bodies"
    try:
        for name, options in config.bodies.items():
            key = f"bodies.{name}"
            loaded[name] = load_body(name, options)
        return Bodies(loaded)
    except BodyError as error:
        raise ConfigError(key, str(error)) from error
