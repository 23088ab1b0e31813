"""Where one version of a servable lies (TF Serving: core/storage_path.h)."""

from typing import NewType

StoragePath = NewType("StoragePath", str)
"""A directory, or a URL that fsspec knows. Only what loads the version looks inside."""
