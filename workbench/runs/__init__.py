"""Runs: prepared, planned, executed, resumed, opened again."""
