"""`GET cortex/openapi.json`: the requests and answers of this server, for programs and for those who write them.

The document is https://spec.openapis.org/oas/v3.1.0; tests hold the handlers to it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import KINDS, STREAMS
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.query.bounds import LIMIT, MAX_LIMIT
from cortex_jupyter.query.language import SEVERAL
from cortex_jupyter.server.base import Handler

_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_TIME: Final = {"type": "string", "examples": ["90s", "10m", "2h", "2026-01-31T12:00:00Z", "all"]}
_CURSOR: Final = {"type": "string", "examples": ["0"]}
_MAYBE: Final = {"type": ["string", "null"]}
_NUMBER: Final = {"type": ["integer", "null"]}

#: Each parameter of a query: what it is, and what it does.
PARAMETERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "follow": (_FLAG, "Go on with what is yet to come, as an event stream, while the task runs."),
    "since": (_TIME, "From then on: a duration back from now, a time, or `all`."),
    "until": (_TIME | {"examples": ["5m"]}, "Up to then."),
    "tail": ({"type": "integer", "minimum": 0}, "Only that many of the newest."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT},
        "Records of a page; fewer where a limit of the server ends it (`stopped`), `older` and `newer` go on.",
    ),
    "before": (_CURSOR, "A page's `older`: go back from there."),
    "after": (_CURSOR, "A page's `newer`: go on from there; `0` is the beginning."),
    "pod": (_TEXT, "A pod's name, a glob, or several with commas between."),
    "container": (_TEXT, "A container's name, a glob, or several with commas between."),
    "run": (
        {"type": "string", "examples": ["-1", "0", "train-0/main/1"]},
        "Runs of containers: 0 the first, -1 the newest.",
    ),
    "stream": ({"type": "string", "enum": [s for s in STREAMS if s in ("stdout", "stderr")]}, "Which of the two."),
    "level": ({"type": "string", "enum": list(LEVELS)}, "At least this level."),
    "grep": (_TEXT, "A regular expression that lines must contain."),
    "exclude": (_TEXT, "A regular expression that lines must not contain."),
    "where": ({"type": "string", "examples": ["status>=500", "loss<0.1"]}, "A condition on a field."),
    "timestamps": (_FLAG, "In text: with each line's time."),
    "pretty": (_FLAG, "In text: JSON lines spread out."),
}
_STREAMED: Final = "text/event-stream"
_FILTERS: Final = ("pod", "container", "run", "stream", "level", "grep", "exclude", "where")
_WINDOW: Final = ("since", "until")


class OpenApiHandler(Handler):
    """What may be asked here."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Give the document."""
        for argument in self.arguments():
            raise BadQuery(f"there is no parameter {argument[:60]!r}", "this address has none")
        self.reply(orjson.dumps(document() | {"servers": [{"url": f"{self.base_url}cortex"}]}))


@cache
def document() -> dict[str, Any]:
    """Give the document, without the address of a server."""
    task = "/tasks/{namespace}/{kind}/{name}"
    cursor = _query("cursor", _TEXT, "Where the reader was; the header `Last-Event-ID` says the same.")
    place = _query("at", _TIME | {"examples": ["10m"]}, "A page around this moment.")
    text = _query("format", {"type": "string", "enum": ["json", "text"]}, "`text`: one plain line per event.")
    logs = [*_several(*PARAMETERS), cursor, place, text]
    bins = _query("bins", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "How many parts of the time.")
    levels = _query("levels", _TEXT, "With warnings and errors of each part.")
    one = _query("task", _TEXT, "`[NAMESPACE:][KIND/]NAME`, given once for each task.", required=True, many=True)
    most = _query("most", {"type": "integer", "minimum": 0}, "Begin with about so many of the newest.")
    space = _query("namespace", _TEXT, "Whose tasks; else the server's own.")
    label = _query("selector", _TEXT, "A Kubernetes label selector, of pods.")
    tail = _several("tail", *_WINDOW, *_FILTERS)
    kept = [*tail, *_several("timestamps", "pretty")]
    listed = {"tasks": {"type": "array", "items": _ref("Task")}, "problem": _PROBLEM}
    tasks = {"type": "object", "required": ["tasks"], "properties": listed}
    found: dict[str, Any] = {
        "/tasks": _get("The tasks of a namespace, newest first.", [space, label], {"application/json": tasks}),
        task: _get("One task.", _path(), {"application/json": _ref("Described")}),
        f"{task}/logs": _get(
            "The log: a stream while it is followed, else a page.",
            [*_path(), *logs],
            {"application/json": _ref("Page"), _STREAMED: _TEXT},
        ),
        f"{task}/outline": _get(
            "Lines over time.", [*_path(), bins, levels], {"application/json": {"type": "object"}}
        ),
        f"{task}/search": _get(
            "A filter over all of it, newest first.",
            [*_path(), *_several(*_WINDOW, "before", *_FILTERS)],
            {_STREAMED: _TEXT},
        ),
        f"{task}/metrics": _get("The numbers that all of it reports.", _path(), {_STREAMED: _TEXT}),
        "/stream": _get("Several tasks over one connection.", [one, cursor, most, *_several("follow"), *tail], {_STREAMED: _TEXT}),
        "/openapi.json": _get("This document.", [], {"application/json": {"type": "object"}}),
    }  # fmt: skip
    types = {"ndjson": "application/x-ndjson", "txt": "text/plain", "parquet": "application/vnd.apache.parquet"}
    for suffix, kind in types.items():
        found[f"{task}/logs.{suffix}"] = _get("The log as a file.", [*_path(), *kept], {kind: {}})
    return {
        "openapi": "3.1.0",
        "info": {"title": "cortex-jupyter", "version": __version__, "description": "Logs of Kubernetes tasks."},
        "paths": found,
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"token": _TOKEN}},
        "security": [{"token": []}],
    }


_TOKEN: Final = {
    "type": "apiKey", "in": "header", "name": "Authorization", "description": "`token ...`, as of all of Jupyter Server",
}  # fmt: skip
_PROBLEM: Final = {
    "type": "object", "description": "Why the cluster could not be asked; the tasks are then those that are recorded.",
    "properties": dict.fromkeys(("code", "message", "hint"), _TEXT),
}  # fmt: skip
_TASK: Final = {
    "task": _TEXT, "kind": _TEXT, "namespace": _TEXT, "name": _TEXT, "state": _TEXT, "started": _MAYBE,
    "finished": _MAYBE, "exit_code": _NUMBER,
}  # fmt: skip
_RECORD: Final = {
    "seq": {"type": "integer"}, "time": _TEXT, "pod": _TEXT, "container": _TEXT, "kind": _TEXT, "run": {"type": "integer"},
    "stream": _TEXT, "text": _TEXT, "level": _MAYBE,
}  # fmt: skip
_COMPLETE: Final = {
    "records": {"type": "integer"}, "from": _MAYBE, "to": _MAYBE, "gaps": {"type": "array", "items": {"type": "object"}},
}  # fmt: skip


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_SCHEMAS: Final = {
    "Task": _object(_TASK | {"status": _TEXT, "restarts": _NUMBER, "pods": {"type": "integer"}}),
    "Described": _object(
        _TASK | {"reason": _TEXT, "pods": {"type": "array"}, "events": {"type": "array"}, "recorded": _object(_COMPLETE),
                 "hidden": {"type": "object", "description": "What may not be shown (`events`, `pods`), and which right would show it."}}
    ),
    "Record": _object(_RECORD),
    "Page": _object({
        "task": _object(_TASK), "records": {"type": "array", "items": _ref("Record")}, "older": _MAYBE, "newer": _MAYBE, "stopped": _FLAG,
        "complete": _object(_COMPLETE),
    }),
    "Error": _object({"error": _object({"code": _TEXT, "message": _TEXT, "hint": _TEXT})}),
}  # fmt: skip
#: Every status that an answer may have besides 200, and why.
STATUSES: Final = {
    "400": "the query cannot be understood", "401": "who asks is not known", "403": "not allowed",
    "404": "there is no such task", "410": "what a cursor points into is no longer held", "429": "a limit is reached",
    "500": "the store cannot be read", "502": "the cluster answers with an error", "503": "the store is busy",
    "504": "the cluster does not answer", "507": "the disk is full",
}  # fmt: skip


def _get(summary: str, parameters: list[dict[str, Any]], answers: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": summary, "content": {kind: {"schema": schema} for kind, schema in answers.items()}}
    }
    error = {"application/json": {"schema": _ref("Error")}}
    responses |= {status: {"description": why, "content": error} for status, why in STATUSES.items()}
    for status in ("429", "503"):
        responses[status]["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds, where to wait helps."}
        }
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}


def _query(
    name: str, schema: dict[str, Any], description: str, *, required: bool = False, many: bool = False
) -> dict[str, Any]:
    listed = {"type": "array", "items": schema, "minItems": int(required)} if many else schema
    return {"name": name, "in": "query", "required": required, "schema": listed, "description": description}


def _several(*names: str) -> list[dict[str, Any]]:
    return [_query(name, *PARAMETERS[name], many=name in SEVERAL) for name in names]


def _path() -> list[dict[str, Any]]:
    kinds = [*KINDS, "task", "-"]
    of = {"namespace": _TEXT, "kind": {"type": "string", "enum": kinds}, "name": _TEXT}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in of.items()]
