"""Parsing of lines: level, message, fields, tracebacks, progress bars, metrics, templates, and masking of secrets."""
