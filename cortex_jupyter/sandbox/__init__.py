"""An embedded Kubernetes API over plain HTTP on loopback, whose pods are local processes.

It is the cluster of the demo where there is none, and the tests' fault injector: what is faithful here
to a real kubelet, `tests/conformance` compares with one; what can go wrong on command, `faults` lists.

`kmock` (PyPI) was weighed for the objects and watches: it answers requests with what a test has prepared
and runs no pods, so the controllers, the kubelet and `pods/log`, nearly all of this, would be left to do.
"""

from __future__ import annotations

from cortex_jupyter.sandbox.config import Config
from cortex_jupyter.sandbox.sandbox import Sandbox

__all__ = ["Config", "Sandbox"]
