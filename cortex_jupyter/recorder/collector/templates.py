"""Kubernetes objects with open values, so that one description serves `record --manifests`, kustomize and Helm.

A template is made of dicts and lists. Expressions, conditions and loops stand in it where installations differ. `evaluate` fills
them in. `deploy/generate.py` writes the same template in Helm's language.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

#: A part of an object: a scalar, a dict, a list, or one of the classes below.
Node = Any
#: In place of an entry that the object is not to have.
OMIT: Final = object()
#: Types of settings, as JSON Schema.
TEXT: Final = {"type": "string"}
TEXTS: Final = {"type": "array", "items": TEXT}
TEXT_MAP: Final = {"type": "object", "additionalProperties": TEXT}
OBJECT: Final = {"type": "object"}
OBJECTS: Final = {"type": "array", "items": OBJECT}
PORT_NUMBER: Final = {"type": "integer", "minimum": 1, "maximum": 65535}
PORT_NUMBERS: Final = {"type": "array", "items": PORT_NUMBER}


@dataclass(frozen=True, slots=True)
class Context:
    """What a template is filled in with.

    Parameters
    ----------
    values : mapping
        The values of the installation, nested as in the chart's `values.yaml`.
    namespace : str
        The namespace of the objects.
    policy_beta : bool
        Whether the cluster is older than Kubernetes 1.21.
    item, key : object
        The item of the loop that is being filled in, and its key (in a list its index).
    """

    values: Mapping[str, Any]
    namespace: str
    policy_beta: bool = False
    item: Any = None
    key: Any = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A value that is known only in an installation.

    Parameters
    ----------
    go : str
        The expression in Helm's language. `$` is the root, because a loop changes the dot.
    read : callable
        Return the same value from a context.
    form : str
        `text` is quoted, `number` and `flag` are not, `block` is a list or an object, and left out if it is empty.
    """

    go: str
    read: Callable[[Context], Any]
    form: Literal["text", "number", "flag", "block"] = "text"


@dataclass(frozen=True, slots=True)
class If:
    """A part that the object has only if an expression is true: not zero, and not empty."""

    test: Expression
    then: Node
    otherwise: Node = field(default=OMIT)


@dataclass(frozen=True, slots=True)
class Each:
    """List items for each item of a list or an object. `ITEM` and `KEY` stand for it in `body`."""

    items: Expression
    body: Node


@dataclass(frozen=True, slots=True)
class Extended:
    """An object with fixed entries; an installation adds more."""

    entries: dict[str, Node]
    more: Expression


NAMESPACE: Final = Expression("$.Release.Namespace", lambda context: context.namespace)
ITEM: Final = Expression("$item", lambda context: context.item)
NUMBER: Final = Expression("(int64 $item)", lambda context: context.item, "number")
KEY: Final = Expression("$key", lambda context: context.key)


def value(path: str, form: Literal["text", "number", "flag", "block"] = "text") -> Expression:
    """Return the expression for a value, such as `collector.replicas`."""

    def read(context: Context) -> Any:
        entry: Any = context.values
        for name in path.split("."):
            entry = entry[name]
        return entry

    go = f"$.Values.{path}"
    # Helm reads all numbers as floats, and writes large ones with an exponent.
    return Expression(f"(int64 {go})" if form == "number" else go, read, form)


def negate(expression: Expression) -> Expression:
    """Return the expression that is true if another one is not."""
    return Expression(f"(not {expression.go})", lambda context: not expression.read(context), "flag")


def join(*parts: str | Expression) -> Expression:
    """Return the expression for a text with expressions in it.

    Examples
    --------
    >>> url = join("http://0.0.0.0:", value("hub.port", "number"))
    >>> url.go
    'printf "http://0.0.0.0:%v" (int64 $.Values.hub.port)'
    >>> url.read(Context({"hub": {"port": 10101}}, "logs"))
    'http://0.0.0.0:10101'
    """
    pattern = "".join("%v" if isinstance(part, Expression) else part for part in parts)
    arguments = [_grouped(part.go) for part in parts if isinstance(part, Expression)]

    def read(context: Context) -> str:
        return "".join(str(part.read(context)) if isinstance(part, Expression) else part for part in parts)

    return Expression(" ".join((f'printf "{pattern}"', *arguments)), read)


def _grouped(go: str) -> str:
    return f"({go})" if " " in go and not go.startswith("(") else go


def evaluate(node: Node, context: Context) -> Any:
    """Return a template with everything filled in, or `OMIT`.

    Examples
    --------
    >>> pod = {"image": value("image"), "hostname": If(value("name"), value("name")), "args": [Each(value("args"), ITEM)]}
    >>> evaluate(pod, Context({"image": "busybox", "name": "", "args": ["-c", "true"]}, "logs"))
    {'image': 'busybox', 'args': ['-c', 'true']}
    """
    match node:
        case Expression():
            filled = node.read(context)
            return OMIT if node.form == "block" and not filled else copy.deepcopy(filled)
        case If():
            return evaluate(node.then if node.test.read(context) else node.otherwise, context)
        case Extended():
            return node.entries | node.more.read(context)
        case dict():
            entries = {key: evaluate(entry, context) for key, entry in node.items()}
            return {key: entry for key, entry in entries.items() if entry is not OMIT}
        case list():
            return [entry for part in node for entry in _entries(part, context)]
    return node


def _entries(part: Node, context: Context) -> Iterable[Any]:
    """Return the list items that one part of a template makes."""
    if isinstance(part, Each):
        items = part.items.read(context) or {}
        # Helm goes through an object in the order of its keys.
        pairs = sorted(items.items()) if isinstance(items, Mapping) else enumerate(items)
        contexts = [replace(context, item=item, key=key) for key, item in pairs]
        return [entry for inner in contexts for entry in _entries(part.body, inner)]
    entry = evaluate(part, context)
    return [] if entry is OMIT else entry if isinstance(entry, list) else [entry]


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that an installation may set.

    Parameters
    ----------
    path : str
        Its place in `values.yaml`.
    default : object
    text : str
        What it does, as a comment.
    schema : mapping
        Its type, as JSON Schema.
    """

    path: str
    default: Any
    text: str
    schema: Mapping[str, Any]


def switch(path: str, text: str, *, on: bool) -> Setting:
    """Return a setting that is on or off."""
    return Setting(path, on, text, {"type": "boolean"})


def defaults(settings: Iterable[Setting]) -> dict[str, Any]:
    """Return the defaults of settings, nested.

    Examples
    --------
    >>> defaults([Setting("hub.replicas", 1, "", {}), Setting("mask", "", "", {})])
    {'hub': {'replicas': 1}, 'mask': ''}
    """
    values: dict[str, Any] = {}
    for setting in settings:
        *parents, name = setting.path.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = copy.deepcopy(setting.default)
    return values
