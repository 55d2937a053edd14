"""A model's internals: sites, edits, engines, and the session that serves them to several threads."""
