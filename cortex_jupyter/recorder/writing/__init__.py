"""From lines to what is committed: merged, numbered, encoded once, written by one thread."""
