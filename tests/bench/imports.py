"""What `import cortex_jupyter` costs over bare Python."""

from __future__ import annotations

import subprocess
import sys

from report import Report, timed

_HEAVY = "{'aiohttp', 'tornado', 'numpy', 'pyarrow', 'pandas', 'kubernetes', 'jupyter_server', 'anywidget', 'IPython'}"


def run(report: Report) -> None:
    """Measure."""
    bare = min(timed([sys.executable, "-c", "pass"])[0] for _ in range(7))
    ours = min(timed([sys.executable, "-c", "import cortex_jupyter"])[0] for _ in range(7))
    code = f"import sys, cortex_jupyter; print(len({_HEAVY} & {{m.partition('.')[0] for m in sys.modules}}))"
    loaded = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    report.add("import cortex_jupyter over bare Python", ours - bare, 0.1, "s")
    report.add("heavy packages it loads", loaded, 0, "")
