"""The time that `import cortex_jupyter` adds to bare Python, and that the extension adds to a Jupyter Server."""

from __future__ import annotations

import subprocess
import sys

from bench.report import Report, timed

_HEAVY = "{'aiohttp', 'tornado', 'numpy', 'pyarrow', 'pandas', 'kubernetes', 'jupyter_server', 'anywidget', 'IPython'}"
#: Prints the CPU seconds of the extension's import, in a process that has imported what a server has by then.
_EXTENSION = """
import time
import jupyter_server.extension.application, jupyter_server.serverapp
begun = time.process_time()
import cortex_jupyter.server.app
print(time.process_time() - begun)
"""


def run(report: Report) -> None:
    """Measure both imports."""
    bare = min(timed([sys.executable, "-c", "pass"])[0] for _ in range(7))
    ours = min(timed([sys.executable, "-c", "import cortex_jupyter"])[0] for _ in range(7))
    code = f"import sys, cortex_jupyter; print(len({_HEAVY} & {{m.partition('.')[0] for m in sys.modules}}))"
    loaded = int(_printed(code))
    extension = min(float(_printed(_EXTENSION)) for _ in range(5))
    report.add("import cortex_jupyter over bare Python", ours - bare, 0.1, "s")
    report.add("heavy packages it loads", loaded, 0, "")
    report.add("import of the server's extension at its start", extension, 0.3, "s")


def _printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
