"""The recorder as a process: how it is started, what it starts, and what it tells of itself."""
