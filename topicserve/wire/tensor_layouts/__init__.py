"""Protobuf messages that differ in their numbers alone, read and written without protobuf."""
