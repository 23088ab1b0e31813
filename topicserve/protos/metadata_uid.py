"""A PredictRequest's input that carries a record's id."""

METADATA_UID = "metadata_uid"
"""A string tensor. What does not declare it is never fed with it."""
