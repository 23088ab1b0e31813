"""The options of the kind `tf_serving`."""

from topicserve.servables.kinds.remote.options import RemoteOptions


class TfServingOptions(RemoteOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the remote TF Serving is and how long to wait for it."""

    file: str = "tf_serving.json"
    """The file of a version that names the remote model."""
    send_metadata_uid: bool = False
    """Whether every signature has the string input `metadata_uid` more, for a server that reads it
    without its model declaring it. An input that the model declares is always sent."""
