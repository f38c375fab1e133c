"""Serve a recording to its readers: open it by a task's name, then follow it, or read pages from any place."""
