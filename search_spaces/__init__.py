"""Architectures as immutable values, the spaces they come from, and the published architectures."""
