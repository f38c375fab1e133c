"""One run of one container: its streams, their resumption, rotated files, its end, missing lines."""
