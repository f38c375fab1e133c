"""What a line says: its level, message and fields, its time, traceback, progress, metrics and template, its secrets."""
