"""An embedded Kubernetes API over plain HTTP on loopback, whose pods are local processes.

The demo uses it when no cluster is available, and the tests use it to inject faults. `tests/conformance` runs
the same cases here and on a real cluster. The module `faults` lists the faults that a test can set. It serves custom
resources too: create a CustomResourceDefinition (see the module `customresources`).

We considered `kmock` (PyPI) for the objects and watches. It returns answers that a test has prepared and runs
no pods, so we would still have to write the controllers, the kubelet and `pods/log`: nearly all of this package.
"""

from __future__ import annotations

from cortex_jupyter.sandbox.config import Config
from cortex_jupyter.sandbox.sandbox import Sandbox

__all__ = ["Config", "Sandbox"]
