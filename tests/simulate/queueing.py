"""Closed forms and recursions of queueing theory that the model is made of."""

from __future__ import annotations

import numpy as np


def wait(load: np.ndarray | float, service: float) -> np.ndarray:
    """Give the mean wait before a server with Poisson arrivals and equal service times (M/D/1), inf where it has no end.

    Parameters
    ----------
    load : ndarray or float
        Share of the time that it is busy.
    service : float
        Seconds.
    """
    busy = np.minimum(load, 1.0)
    endless = np.full_like(busy, np.inf, float)
    waits: np.ndarray = np.divide(service * busy, 2 * (1 - busy), out=endless, where=busy < 1)
    return waits


def left(before: np.ndarray | float, work: np.ndarray | float, capacity: float) -> np.ndarray:
    """Give the work that is left after a step, of what was there before and has come (Lindley's recursion)."""
    work_left: np.ndarray = np.maximum(before + work - capacity, 0.0)
    return work_left


def batches(rate: np.ndarray, interval: np.ndarray | float) -> np.ndarray:
    """Give how many batches a second lines become that come one by one (Poisson).

    The first goes out at once, those that come within the interval after it together: a renewal every interval and
    mean time between lines.
    """
    found: np.ndarray = rate / (1 + rate * interval)
    return found
