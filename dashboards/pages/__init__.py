"""The pages that a browser shows, one a file."""
