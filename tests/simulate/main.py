"""`make simulate`: see `command`."""

from __future__ import annotations

import sys
from pathlib import Path

# Import from `tests` instead of this folder, because `simulate` is a package there.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from simulate.command import main  # noqa: E402 - the folder above comes first

if __name__ == "__main__":
    sys.exit(main())
