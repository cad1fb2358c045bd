"""The HTTP API. `v1.py` is its table of contents."""
