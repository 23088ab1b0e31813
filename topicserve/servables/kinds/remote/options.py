"""The options of every kind whose models a remote server serves over gRPC."""

import math
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from topicserve.redact import redact_address
from topicserve.servables.kinds.options import KindOptions

Path = Annotated[str, Meta(min_length=1)]

# A user before the host is left to gRPC, as before: its errors show none.
_HOST_AND_PORT = re.compile(r"(?:[^\s/]*@)?(?:\[[^\s\[\]]+\]|[^\s:/\[\]]+):(\d{1,5})")
_NAME = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):\S+")
_MAX_PORT = 65_535


class TlsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files in PEM form; without any, the system's certificates are trusted."""

    root_certificates: Path | None = None
    private_key: Path | None = None
    certificate_chain: Path | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("`private_key` and `certificate_chain` belong together")


class RemoteOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the remote server is and how long to wait for it."""

    target: Annotated[str, Meta(min_length=1)]
    """Its gRPC address, host:port, or a name that gRPC resolves."""
    timeout_seconds: float = 10.0
    """How long one call may take, its retries included."""
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    """How often a call is tried while the server is unavailable."""
    retry_backoff_seconds: float = 0.05
    """The first pause before a retry; the pauses double."""
    batch_records: bool | None = None
    """Whether records share a call. By default where the signature shows what has rows, and no
    output is for the whole call: whether that is computed from rows, it does not show. False and
    true as for the kind `saved_model`."""
    tls: TlsOptions | None = None
    """Without it the connection is plain text."""
    channel_options: dict[str, int | str] = msgspec.field(default_factory=dict)
    """gRPC's own, such as {"grpc.keepalive_time_ms" = 30000}."""

    def __post_init__(self) -> None:
        for name in ("timeout_seconds", "retry_backoff_seconds"):
            value = getattr(self, name)
            if not 0 < value <= 86_400 or math.isnan(value):
                raise ValueError(f"`{name}` must be above 0 and at most a day, found {value}")
        if not _is_address(self.target):
            raise ValueError(
                "`target` must be host:port, [address]:port for IPv6, or a name that gRPC "
                f"resolves (dns:///host:port, unix:///path), found {redact_address(self.target)!r}"
            )


def _is_address(target: str) -> bool:
    found = _HOST_AND_PORT.fullmatch(target)
    if found is not None:
        return 0 < int(found[1]) <= _MAX_PORT
    return _NAME.fullmatch(target) is not None
