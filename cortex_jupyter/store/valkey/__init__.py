"""Recordings on a Valkey or Redis server, for many users and machines; see `store.valkey.store`."""
