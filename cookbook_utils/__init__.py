"""Tested helpers for clustering satellite data: one module for each step of the cookbook."""

__version__ = "2026.11.0"
