#: What the programs are is run in pods, and not read by pytest.
collect_ignore_glob = ["src/*"]
