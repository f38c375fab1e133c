"""One run of one container, read from its anchor to its end: reconnects, rotated files, what is missing."""
