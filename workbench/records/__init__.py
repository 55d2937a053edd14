"""What a run leaves on disk: its record, its arrays, its notes, and how two of them compare."""
