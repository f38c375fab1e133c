#: The programs in src run in pods; pytest does not collect them.
collect_ignore_glob = ["src/*"]
