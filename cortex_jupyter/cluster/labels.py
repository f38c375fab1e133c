"""Label selectors, and the labels that a task's pods have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cortex_jupyter.cluster import KubeObject

    Labels = Mapping[str, str]

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors; `>` and `<` compare integers
# (kubernetes/apimachinery/pkg/labels/selector.go).
_KEY: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_EXISTS: Final = re.compile(rf"(!?)\s*({_KEY})")
_EQUALS: Final = re.compile(rf"({_KEY})\s*(==?|!=)\s*({_VALUE})")
_IN: Final = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_COMPARES: Final = re.compile(rf"({_KEY})\s*([<>])\s*(-?\d{{1,18}})")
_BETWEEN: Final = re.compile(r",(?![^(]*\))")


def label_matcher(selector: str) -> Callable[[Labels], bool]:
    """Return a function that tests whether labels match a selector. An empty selector matches all.

    Parameters
    ----------
    selector : str
        In the syntax of `kubectl -l`.

    Raises
    ------
    BadQuery
        The text is not a label selector.

    Examples
    --------
    >>> matches = label_matcher("app=train,tier in (a, b),!canary")
    >>> matches({"app": "train", "tier": "b"}), matches({"app": "train", "tier": "b", "canary": ""})
    (True, False)
    """
    tests = [_requirement(part.strip(), selector) for part in _BETWEEN.split(selector)] if selector.strip() else []
    return lambda labels: all(test(labels) for test in tests)


def _requirement(text: str, selector: str) -> Callable[[Labels], bool]:
    if match := _IN.fullmatch(text):
        key, values, is_in = match[1], {value.strip() for value in match[3].split(",")}, match[2] == "in"
        return lambda labels: (labels.get(key) in values) is is_in
    if match := _EQUALS.fullmatch(text):
        key, value, is_equal = match[1], match[3], match[2] != "!="
        return lambda labels: (labels.get(key) == value) is is_equal
    if match := _EXISTS.fullmatch(text):
        key, is_present = match[2], not match[1]
        return lambda labels: (key in labels) is is_present
    if match := _COMPARES.fullmatch(text):
        key, bound, is_greater = match[1], int(match[3]), match[2] == ">"

        def compare(labels: Labels) -> bool:
            value = labels.get(key, "")
            if not re.fullmatch(r"-?\d{1,18}", value):
                return False
            return int(value) > bound if is_greater else int(value) < bound

        return compare
    raise BadQuery(
        f"{text[:80]!r} in {selector[:80]!r} is no label requirement",
        "write it as for `kubectl -l`: app=train,tier!=test",
    )


def pod_labels(obj: KubeObject) -> dict[str, str]:
    """Return the labels that a workload's template gives its pods; for a pod, its own labels.

    Examples
    --------
    >>> pod_labels({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"metadata": {"labels": {"app": "x"}}}}})
    {'app': 'x'}
    >>> pod_labels({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}})
    {'a': 'b'}
    """
    spec = obj.get("spec") or {}
    spec = (spec.get("jobTemplate") or {}).get("spec") or spec  # a CronJob has one
    owner = spec.get("template", obj)
    labels: dict[str, str] = (owner.get("metadata") or {}).get("labels") or {}
    return labels
