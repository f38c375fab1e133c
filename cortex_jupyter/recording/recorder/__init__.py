"""Who records which tasks, and each of them to its end."""
