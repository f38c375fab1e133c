"""From the API to a durable sequence: which tasks are recorded, by whom, and each of them to its end.

A change has one of these rooms; none imports another that imports it.

- `collector`: a recorder in the cluster: selects tasks itself, shares them, is installed by manifests
- `source`: one run of one container, from its anchor to its end: reconnects, rotated files, gaps
- `watching`: what the API server says of a task besides its lines: objects, pods, events
- `writing`: from lines to commits: merged, numbered, encoded once, by one thread
- `text`: from a log's bytes to lines, and which of them are recorded already
- `process`: the recorder as a process: its start, its archiver, its metrics and probes
"""
