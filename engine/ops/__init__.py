"""Launchers: one per op, the same stem as its kernel and its oracle. They check, compute the geometry and launch."""
