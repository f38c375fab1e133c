"""From the API to a durable sequence: the recorder (its own process), the stores, the readers.

A change has one of these rooms; each imports only rooms below it, and readers and recorders meet in the store alone.

- `recorder`: who records which tasks, and each of them to its end
- `collector`: a recorder in the cluster: selects tasks itself, shares them, is installed by manifests
- `source`: one run of one container, from its anchor to its end: reconnects, rotated files, gaps
- `watching`: what the API server says of a task besides its lines: objects, pods, events
- `writing`: from lines to commits: merged, numbered, encoded once, by one thread
- `reading`: a recording opened by a task's name, followed, or read in pages
- `text`: from a log's bytes to lines, and which of them are recorded already
- `process`: the recorder as a process: its start, its archiver, its metrics and probes
- `sqlite`, `valkey`: the two stores (`stores` opens one from its URL)
- `store`: what every store is: interface, types, URLs, budget
"""
