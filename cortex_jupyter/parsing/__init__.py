"""From text to meaning: the query of a log, and the level, message and fields of a line."""
