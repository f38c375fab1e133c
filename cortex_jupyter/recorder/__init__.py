"""Record tasks from the Kubernetes API into a durable sequence: decide which tasks, and record each to its end.

A change belongs to one of these packages; they do not import each other in a circle.

- `collector`: a recorder in the cluster: selects tasks itself, shares them with others, is installed by manifests
- `source`: one run of one container, from its anchor to its end: reconnects, rotated files, gaps
- `watching`: what the API server says of a task besides its lines: objects, pods, events
- `writing`: from lines to commits: merged, numbered, encoded once, by one thread
- `text`: from a log's bytes to lines, and which of them are recorded already
- `process`: the recorder as a process: its start, its archiver, its metrics and probes
"""
