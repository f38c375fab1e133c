"""The recorder as a process: its start, its archiver, its metrics and probes."""
