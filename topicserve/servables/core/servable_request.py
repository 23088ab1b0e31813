"""Which version a caller wants (TF Serving: ServableRequest in core/manager.h)."""

from typing import NamedTuple

from topicserve.servables.core.servable_id import ServableId


class ServableRequest(NamedTuple):
    """A name with a version, a label, or neither: then the latest, or earliest, available one.

    Made by the class methods. Labels and the default are resolved by ServerCore; a manager knows
    neither. A tuple, because managers find versions by it, and no other key is as quick to hash.
    """

    name: str
    version: int | None = None
    label: str | None = None
    earliest_version: bool = False
    default_version: bool = False

    @classmethod
    def latest(cls, name: str) -> "ServableRequest":
        """Ask for the highest version that is available."""
        return cls(name)

    @classmethod
    def earliest(cls, name: str) -> "ServableRequest":
        """Ask for the lowest version that is available."""
        return cls(name, earliest_version=True)

    @classmethod
    def specific(cls, name: str, version: int) -> "ServableRequest":
        """Ask for this version and no other."""
        return cls(name, version)

    @classmethod
    def labelled(cls, name: str, label: str) -> "ServableRequest":
        """Ask for the version that the label stands for at that moment."""
        return cls(name, label=label)

    @classmethod
    def default(cls, name: str) -> "ServableRequest":
        """Ask for the version that is configured to answer where none is named."""
        return cls(name, default_version=True)

    @classmethod
    def from_id(cls, servable_id: ServableId) -> "ServableRequest":
        """Ask for exactly this."""
        return cls(servable_id.name, servable_id.version)

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}, version {self.version}"
        if self.label is not None:
            return f"{self.name}, label {self.label!r}"
        if self.default_version:
            return f"{self.name}, default version"
        return f"{self.name}, {'earliest' if self.earliest_version else 'latest'} version"
