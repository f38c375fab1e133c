"""Parsing of lines: level, message, fields, tracebacks, progress bars, metrics, patterns, and masking of secrets."""
