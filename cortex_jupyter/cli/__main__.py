"""Run the command line: `python -m cortex_jupyter.cli`."""

import sys

from cortex_jupyter.cli import main

if __name__ == "__main__":
    sys.exit(main())
