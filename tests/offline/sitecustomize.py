"""Imported by every Python that starts with this folder on its path."""

import loopback_only  # noqa: F401
