"""`cortex-jupyter`: tasks, logs, export, record, demo, doctor."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Instead of the process's own.

    Returns
    -------
    int
        The exit code: 0; 1 after an error; 2 where the command line is wrong; of `logs -f` the task's; 4 of
        `logs --strict` where lines are missing.
    """
    from cortex_jupyter.cli.main import run  # noqa: PLC0415 - so that the package can be imported for nothing

    return run(argv)
