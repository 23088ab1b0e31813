"""Settings whose values are words of a list: checked for both clients alike, before either starts.

Left to the clients, a misspelt `security.protocol` is plaintext to kafka-python, and each
client takes other words for the same thing.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from topicserve.backends.defaults import CONFLUENT, KAFKA_PYTHON
from topicserve.backends.errors import BackendConfigError
from topicserve.redact import REDACTED


@dataclass(frozen=True, slots=True)
class Choice:
    """The words that a setting knows."""

    words: tuple[str, ...]
    any_case: bool = False
    """Whether Kafka takes the words in any case."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, and what each stands for."""
    is_list: bool = False
    """Whether the value may be several words with commas between."""

    def read(self, text: str) -> str | None:
        """Return the word that a text stands for; None if it is none of them."""
        for word in self.words:
            if text == word or (self.any_case and text.casefold() == word.casefold()):
                return word
        return self.aliases.get(text)


_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI")
_ACKS = Choice(("all", "0", "1"), aliases={"-1": "all"})
_CODECS = Choice(("none", "gzip", "snappy", "lz4", "zstd"))
_SASL = Choice(_MECHANISMS)
_PACKAGE = "org.apache.kafka.clients.consumer."
_ASSIGNORS = {
    f"{_PACKAGE}CooperativeStickyAssignor": "cooperative-sticky",
    f"{_PACKAGE}RangeAssignor": "range",
    f"{_PACKAGE}RoundRobinAssignor": "roundrobin",
}
_COMMON: dict[str, Choice] = {
    # As in Kafka, the only one whose case does not matter, beside the name check's.
    "security.protocol": Choice(("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), any_case=True),
    "ssl.endpoint.identification.algorithm": Choice(
        ("https", "none"), any_case=True, aliases={"": "none"}
    ),
    "sasl.mechanism": _SASL,
    "sasl.mechanisms": _SASL,
    "isolation.level": Choice(("read_committed", "read_uncommitted")),
    "auto.offset.reset": Choice(
        ("earliest", "latest", "none"),
        # librdkafka's spellings, and those of Kafka before 0.9.
        aliases={
            **dict.fromkeys(("beginning", "smallest"), "earliest"),
            **dict.fromkeys(("end", "largest"), "latest"),
            "error": "none",
        },
    ),
    "compression.type": _CODECS,
    "acks": _ACKS,
    "client.dns.lookup": Choice(("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only")),
    "partition.assignment.strategy": Choice(
        ("cooperative-sticky", "range", "roundrobin"), aliases=_ASSIGNORS, is_list=True
    ),
}
_KAFKA_PYTHON = _COMMON | {
    "sasl.mechanism": Choice((*_MECHANISMS, "AWS_MSK_IAM")),
    "sasl.mechanisms": Choice((*_MECHANISMS, "AWS_MSK_IAM")),
    "partition.assignment.strategy": Choice(
        ("cooperative-sticky", "sticky", "range", "roundrobin"),
        aliases=_ASSIGNORS | {f"{_PACKAGE}StickyAssignor": "sticky"},
        is_list=True,
    ),
}
_CONFLUENT = _COMMON | {
    "compression.codec": _CODECS,
    "request.required.acks": _ACKS,
    "metadata.recovery.strategy": Choice(("none", "rebootstrap")),
    "group.protocol": Choice(("classic", "consumer")),
    "broker.address.family": Choice(("any", "v4", "v6")),
    "sasl.oauthbearer.method": Choice(("default", "oidc")),
}
CHOICES: Mapping[str, Mapping[str, Choice]] = {
    KAFKA_PYTHON: _KAFKA_PYTHON,
    CONFLUENT: _CONFLUENT,
}
# What tells where something is or what it is called, rather than how to get in.
_HARMLESS = ("bootstrap.servers", "client.id", "client.rack", "group.id", "group.instance.id")


def problem_of(client: str, name: str, value: object) -> str | None:
    """Return what is wrong with a setting's value; None if it is one of its words, or any."""
    choice = CHOICES[client].get(name)
    if choice is None:
        return None
    wrong = next((one for one in _words(choice, value) if choice.read(one) is None), None)
    if wrong is None:
        return None
    listed = ", ".join(choice.words)
    wanted = f"a list of {listed}" if choice.is_list else f"one of {listed}"
    return f"must be {wanted}, {described(wrong, choice.words)}"


def checked(client: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings with every listed word spelt as its first spelling.

    Raises BackendConfigError, which names the key and what is allowed.
    """
    result = dict(settings)
    for name in settings.keys() & CHOICES[client].keys():
        problem = problem_of(client, name, settings[name])
        if problem is not None:
            raise BackendConfigError(f"{name} {problem}")
        choice = CHOICES[client][name]
        result[name] = ",".join(str(choice.read(one)) for one in _words(choice, settings[name]))
    return result


def described(value: object, words: Iterable[str] = ()) -> str:
    """Return what was found, without showing it: it may be a secret in the wrong place.

    Only a slip of one of the words is shown.
    """
    if not isinstance(value, str):
        return f"found a value of type {type(value).__name__}"
    upper = {word.casefold(): word for word in words}
    close = difflib.get_close_matches(value.casefold(), upper, n=1, cutoff=0.6)
    if close and len(value) <= len(close[0]) + 2:
        return f"found {value!r}; did you mean {upper[close[0]]}?"
    return f"found a value of length {len(value)}"


def without_values(text: str, settings: Mapping[str, object]) -> str:
    """Return a client's message without the values of settings that may be secret."""
    shown = {str(value) for name, value in settings.items() if not _is_harmless(name)}
    # Clients strip values, and name the word of a list that they do not know.
    values = shown.union(*(_parts(value) for value in shown))
    # Shorter ones are parts of other words.
    for value in sorted((one for one in values if len(one) > 3), key=len, reverse=True):
        text = text.replace(value, REDACTED)
    return text


def _parts(value: str) -> set[str]:
    return {value.strip(), *map(str.strip, value.split(","))}


def _is_harmless(name: str) -> bool:
    dotted = name.replace("_", ".")
    return dotted in _HARMLESS or dotted.endswith(".location")


def _words(choice: Choice, value: object) -> list[str]:
    text = str(value)
    return [part.strip() for part in text.split(",")] if choice.is_list else [text]
