"""A servable that turns tokens into ids and ids into tokens (tf.lookup.StaticVocabularyTable)."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.options import KindOptions, read_options
from topicserve.servables.kinds.predict_checks import unknown_signature
from topicserve.servables.kinds.servable import Columns, Signature, TensorSpec
from topicserve.servables.kinds.vocabulary.fingerprint import fingerprint64
from topicserve.servables.sources.directory_size import directory_bytes
from topicserve.servables.sources.regular_files import open_regular_file

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext

TOKEN_TO_ID, ID_TO_TOKEN = "token_to_id", "id_to_token"

# A token of six bytes takes 25 times its line in the file, longer ones less (measured).
RAM_PER_BYTE_ON_DISK = 25

# Any shape goes in, and the same comes out.
_TOKENS = TensorSpec(np.dtype(object), None)
_IDS = TensorSpec(np.dtype(np.int64), None)

Strings = NDArray[np.object_]


class VocabularyOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the tokens stand, and what becomes of those that do not."""

    file: str = "vocabulary.txt"
    """Its name in the version's directory: one token a line, the first has the id 0."""
    oov_buckets: Annotated[int, Meta(ge=0, le=2**31)] = 0
    """How many ids behind the last one unknown tokens share, as TensorFlow hashes them."""
    oov_id: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """The id of unknown tokens where there are no buckets; without it they are errors."""
    oov_token: str | None = None
    """The token of ids that have none; without it they are errors."""
    serving_default: Literal["token_to_id", "id_to_token"] = "token_to_id"
    """Which of the two signatures is taken where none is asked for."""

    def __post_init__(self) -> None:
        if self.oov_buckets and self.oov_id is not None:
            raise ValueError("`oov_id` has no use beside `oov_buckets`; give one of them")


class Vocabulary:
    """A loaded vocabulary, with a signature for each direction; both keep the shape."""

    returns_new_arrays = True

    def __init__(self, tokens: Sequence[bytes], options: VocabularyOptions) -> None:
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._tokens: Strings = np.fromiter(tokens, object, len(tokens))
        self._options = options
        self._oov_token = None if options.oov_token is None else options.oov_token.encode()
        directions = {
            TOKEN_TO_ID: Signature({"token": _TOKENS}, {"id": _IDS}, rows_are_independent=True),
            ID_TO_TOKEN: Signature({"id": _IDS}, {"token": _TOKENS}, rows_are_independent=True),
        }
        self._calls = {TOKEN_TO_ID: self._to_ids, ID_TO_TOKEN: self._to_tokens}
        self._calls["serving_default"] = self._calls[options.serving_default]
        self.signatures: Mapping[str, Signature] = directions | {
            "serving_default": directions[options.serving_default]
        }

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return the other side of each token or id.

        Raises InvalidArgumentError naming one that has none, where the options have nothing for it.
        """
        if signature_name not in self._calls:
            raise unknown_signature(signature_name, self._calls)
        return self._calls[signature_name](inputs)

    def _to_ids(self, inputs: Columns) -> Columns:
        tokens = inputs["token"].ravel().tolist()
        ids = [self._ids.get(token) for token in tokens]
        if None in ids:
            pairs = zip(tokens, ids, strict=True)
            ids = [self._unknown_id(token) if one is None else one for token, one in pairs]
        return {"id": np.array(ids, np.int64).reshape(inputs["token"].shape)}

    def _unknown_id(self, token: bytes) -> int:
        if self._options.oov_buckets:
            return len(self._tokens) + fingerprint64(token) % self._options.oov_buckets
        if self._options.oov_id is None:
            raise InvalidArgumentError(f"the vocabulary has no token {token!r}")
        return self._options.oov_id

    def _to_tokens(self, inputs: Columns) -> Columns:
        ids: NDArray[Any] = inputs["id"]
        is_known = (ids >= 0) & (ids < len(self._tokens))
        if is_known.all():
            return {"token": self._tokens[ids]}
        if self._oov_token is None:
            raise InvalidArgumentError(f"the vocabulary has no id {ids[~is_known].flat[0]}")
        tokens = np.full(ids.shape, self._oov_token, object)
        tokens[is_known] = self._tokens[ids[is_known]]
        return {"token": tokens}


def load_vocabulary(path: str, options: VocabularyOptions) -> Vocabulary:
    """Read a version's vocabulary; errors name the file and the line."""
    file = _file(path, options)
    with open_regular_file(file) as lines:
        tokens = [line.removesuffix(b"\n").removesuffix(b"\r") for line in lines]
    vocabulary = Vocabulary(tokens, options)
    if len(set(tokens)) != len(tokens):
        raise InvalidArgumentError(f"{file}, {_repeated(tokens)}")
    return vocabulary


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what makes loaders of vocabularies; InvalidArgumentError for bad options."""
    settings = read_options(VocabularyOptions, options, "vocabulary")

    def estimate(path: StoragePath) -> ResourceAllocation:
        return main_ram(RAM_PER_BYTE_ON_DISK * directory_bytes(_file(path, settings)))

    return SimpleLoaderSourceAdapter(lambda path: load_vocabulary(path, settings), estimate)


def _file(path: str, options: VocabularyOptions) -> str:
    return path if os.path.isfile(path) else os.path.join(path, options.file)


def _repeated(tokens: Sequence[bytes]) -> str:
    """Return which line repeats a token: its id would be anybody's guess."""
    seen: dict[bytes, int] = {}
    for line, token in enumerate(tokens, start=1):
        if token in seen:
            return f"line {line}: the token {token!r} stands on line {seen[token]} already"
        seen[token] = line
    return ""
