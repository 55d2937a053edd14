"""Controls for a notebook."""
