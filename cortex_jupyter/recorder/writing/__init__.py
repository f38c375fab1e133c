"""Turn lines and notices into commits: merged, numbered, encoded once, written by one thread."""
