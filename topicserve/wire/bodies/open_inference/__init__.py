"""The Open Inference Protocol's bodies: its JSON, and its protobuf messages.

Both are read into arrays by their names, and are answered in the form that they came in.
"""
