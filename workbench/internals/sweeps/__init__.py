"""Sweeps: one metric under every edit of a grid, with nothing computed twice."""
