"""Recordings in one SQLite file, for one user or one server; see `store.sqlite.store`."""
