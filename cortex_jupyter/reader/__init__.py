"""A recording as its readers have it: opened by a task's name, then followed, or read in pages from any place."""
