from support.stores import hand, new_store, pytest_generate_tests, server_of, store, valkey_server

__all__ = ["hand", "new_store", "pytest_generate_tests", "server_of", "store", "valkey_server"]
