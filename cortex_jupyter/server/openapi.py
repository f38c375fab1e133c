"""`GET cortex/openapi.json`: the description of this server's requests and answers, as OpenAPI 3.1.

Tests check the handlers against this document. https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import KINDS, MEMBERSHIP, STREAMS
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.query.bounds import LIMIT, MAX_LIMIT
from cortex_jupyter.query.language import SEVERAL
from cortex_jupyter.reader.shared_lists import MAX_AGE_S
from cortex_jupyter.reader.task_search import LINES, MAX_LINES
from cortex_jupyter.server.base import Handler

_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_TIME: Final = {"type": "string", "examples": ["90s", "10m", "2h", "yesterday", "10:00", "2026-01-31T12:00:00Z", "all"]}
_CURSOR: Final = {"type": "string", "examples": ["0"]}
_MAYBE: Final = {"type": ["string", "null"]}
_NUMBER: Final = {"type": ["integer", "null"]}

#: Schema and description of each parameter of a query.
PARAMETERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "follow": (_FLAG, "Follow the log as an event stream while the task runs."),
    "since": (
        _TIME,
        "Start of the window: a duration before now, a time, a day or a time of day (UTC without a zone), or `all`.",
    ),
    "until": (_TIME | {"examples": ["5m"]}, "End of the window."),
    "tail": ({"type": "integer", "minimum": 0}, "Only this many of the newest records."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT},
        "Number of records of a page. A limit of the server can end the page earlier (`stopped`); `older` and `newer` continue it.",
    ),
    "before": (_CURSOR, "The cursor `older` of a page: records before it."),
    "after": (_CURSOR, "The cursor `newer` of a page: records after it. `0` is the beginning."),
    "pod": (_TEXT, "Name of a pod, a glob, or several of them, separated by commas."),
    "container": (_TEXT, "Name of a container, a glob, or several of them, separated by commas."),
    "role": (_TEXT | {"examples": ["worker"]}, "A role in the task, a glob, or several of them, separated by commas."),
    "rank": (
        {"type": "string", "examples": ["3", "0-3", "0,8-15"]},
        "Ranks: numbers and ranges of the last number of a rank, or globs of the whole rank, separated by commas.",
    ),
    "run": (
        {"type": "string", "examples": ["-1", "0", "train-0/main/1"]},
        "Runs of containers: 0 is the first, -1 the newest.",
    ),
    "attempt": (
        {"type": "string", "examples": ["-1", "0"]},
        "Attempts of the task: 0 is the first, -1 the newest of each role and rank.",
    ),
    "stream": (
        {"type": "string", "enum": [s for s in STREAMS if s in ("stdout", "stderr")]},
        "Only lines of this stream.",
    ),
    "level": (
        _TEXT,
        f"Only lines of at least this level ({', '.join(LEVELS)}); `info,error` or `=info`: exactly these.",
    ),
    "grep": (_TEXT, "A regular expression that lines must match."),
    "exclude": (_TEXT, "A regular expression that lines must not match."),
    "where": ({"type": "string", "examples": ["status>=500", "loss<0.1"]}, "A condition on a field."),
    "timestamps": (_FLAG, "In text: write the time before each line; a file of several containers has it by default."),
    "pretty": (_FLAG, "In text: write JSON lines with indentation."),
}
_STREAMED: Final = "text/event-stream"
_FILTERS: Final = ("pod", "container", "role", "rank", "run", "attempt", "stream", "level", "grep", "exclude", "where")
_WINDOW: Final = ("since", "until")


class OpenApiHandler(Handler):
    """The OpenAPI document."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the document."""
        for argument in self.arguments():
            raise BadQuery(f"there is no parameter {argument[:60]!r}", "this address has none")
        self.reply(orjson.dumps(document() | {"servers": [{"url": f"{self.base_url}cortex"}]}))


@cache
def document() -> dict[str, Any]:
    """Return the document, without the address of a server."""
    task = "/tasks/{namespace}/{kind}/{name}"
    cursor = _parameter("cursor", _TEXT, "Resume after this cursor, like the header `Last-Event-ID`.")
    at = _parameter("at", _TIME | {"examples": ["10m"]}, "Return a page around this moment.")
    text = _parameter("format", {"type": "string", "enum": ["json", "text"]}, "`text`: one plain line per event.")
    logs = [*_parameters(*PARAMETERS), cursor, at, text]
    bins = _parameter(
        "bins", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "Number of equal intervals of time."
    )
    levels = _parameter("levels", _TEXT, "Also count warnings and errors in each interval.")
    task_parameter = _parameter(
        "task", _TEXT, "`[NAMESPACE:][KIND/]NAME`; repeat it for each task.", required=True, is_repeatable=True
    )
    max_records = _parameter(
        "most", {"type": "integer", "minimum": 0}, "Begin with about this many of the newest records."
    )
    namespace = _parameter("namespace", _TEXT, "The namespace of the tasks; by default the server's own.")
    selector = _parameter("selector", _TEXT, "A Kubernetes label selector for pods.")
    max_age = _parameter(
        "max_age",
        {"type": "integer", "minimum": 0, "maximum": MAX_AGE_S},
        "Accept a list of up to this many seconds ago, or an older one if the namespace takes long to list. For pages that keep a list fresh; `rest_s` of the answer is when to ask again.",
    )
    typed = _parameter(
        "search",
        _TEXT | {"examples": ["CUDA out of memory", "loss=nan -warmup level>=warning"]},
        "What lines must contain, as it is typed into the viewer's filter box.",
    )
    lines = _parameter(
        "lines",
        {"type": "integer", "minimum": 1, "maximum": MAX_LINES, "default": LINES},
        "Maximum number of lines of each task. Further ones are counted.",
    )
    named = _parameter(
        "task", _TEXT, "Search only in this task, `[NAMESPACE:][KIND/]NAME`; may be repeated.", is_repeatable=True
    )
    tail = _parameters("tail", *_WINDOW, *_FILTERS)
    origin = _parameter("origin", _TEXT, "As the header `X-Cortex-Origin`, which a plain link cannot send.")
    file_parameters = [*tail, *_parameters("timestamps", "pretty"), origin]
    task_list = {
        "tasks": {"type": "array", "items": _ref("Task")},
        "problem": _PROBLEM,
        "rest_s": {"type": "number", "description": "With `max_age`: in how many seconds there can be a newer list."},
    }
    tasks = {"type": "object", "required": ["tasks"], "properties": task_list}
    namespaces = {"namespaces": {"type": ["array", "null"], "items": _TEXT}, "default": _TEXT}
    paths: dict[str, Any] = {
        "/namespaces": _operation(
            "The namespaces whose tasks you may read; null if they cannot be listed, or are more than 1 000. `default` is the server's own.",
            [],
            {"application/json": _object(namespaces)},
        ),
        "/tasks": _operation(
            "The tasks of a namespace, newest first.", [namespace, selector, max_age], {"application/json": tasks}
        ),
        task: _operation("One task.", _path_parameters(), {"application/json": _ref("Described")}),
        f"{task}/logs": _operation(
            "The log: an event stream while it is followed, else a page.",
            [*_path_parameters(), *logs],
            {"application/json": _ref("Page"), _STREAMED: _TEXT},
        ),
        f"{task}/outline": _operation(
            "Lines over time.", [*_path_parameters(), bins, levels], {"application/json": {"type": "object"}}
        ),
        f"{task}/search": _operation(
            "Matches of a filter in the whole recording, newest first.",
            [*_path_parameters(), *_parameters(*_WINDOW, "before", *_FILTERS)],
            {_STREAMED: _TEXT},
        ),
        f"{task}/metrics": _operation("The metrics of the whole recording.", _path_parameters(), {_STREAMED: _TEXT}),
        f"{task}/patterns": _operation(
            "The patterns of the recording's lines, and the commonest values of their fields.",
            _path_parameters(),
            {_STREAMED: _TEXT},
        ),
        f"{task}/ranks": _operation(
            "The ranks of a distributed task: a strip of each one's progress over time.",
            _path_parameters(),
            {_STREAMED: _TEXT},
        ),
        "/search": _operation(
            "The newest matches in each task of a namespace, or in those that are named.",
            [named, namespace, selector, typed, lines, *_parameters(*_WINDOW, *_FILTERS)],
            {_STREAMED: _TEXT},
        ),
        "/stream": _operation(
            "Several tasks over one connection.",
            [task_parameter, cursor, max_records, *_parameters("follow"), *tail],
            {_STREAMED: _TEXT},
        ),
        "/openapi.json": _operation("This document.", [], {"application/json": {"type": "object"}}),
    }
    types = {"ndjson": "application/x-ndjson", "txt": "text/plain", "parquet": "application/vnd.apache.parquet"}
    for suffix, kind in types.items():
        operation = _operation(_FILES[suffix], [*_path_parameters(), *file_parameters], {kind: {}})
        head = operation["get"] | {"summary": "The status with which the file would begin, without the file."}
        paths[f"{task}/logs.{suffix}"] = operation | {"head": head}
    return {
        "openapi": "3.1.0",
        "info": {"title": "cortex-jupyter", "version": __version__, "description": "Logs of Kubernetes tasks."},
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"token": _TOKEN}},
        "security": [{"token": []}],
    }


_FILES: Final = {
    "ndjson": "The log as a file, in the order of recording.",
    "txt": "The log as a file, in the order of time. Lines of several containers begin with their source and time.",
    "parquet": "The log as a file, in the order of time.",
}
_TOKEN: Final = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "`token ...`, as everywhere in Jupyter Server",
}
_PROBLEM: Final = {
    "type": "object",
    "description": "Why the cluster cannot be asked. Then only recorded tasks are listed.",
    "properties": dict.fromkeys(("code", "message", "hint"), _TEXT),
}
_TASK: Final = {
    "task": _TEXT,
    "kind": _TEXT,
    "namespace": _TEXT,
    "name": _TEXT,
    "state": _TEXT,
    "started": _MAYBE,
    "finished": _MAYBE,
    "exit_code": _NUMBER,
}
_RECORD: Final = {
    "seq": {"type": "integer"},
    "time": _TEXT,
    "pod": _TEXT,
    "container": _TEXT,
    "kind": _TEXT,
    "run": {"type": "integer"},
    "stream": _TEXT,
    "text": _TEXT,
    "level": _MAYBE,
}
_COMPLETE: Final = {
    "records": {"type": "integer"},
    "from": _MAYBE,
    "to": _MAYBE,
    "gaps": {"type": "array", "items": {"type": "object"}},
}


def _object(properties: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties | (optional or {})}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_SCHEMAS: Final = {
    "Task": _object(_TASK | {"status": _TEXT, "restarts": _NUMBER, "pods": {"type": "integer"}}),
    "Described": _object(
        _TASK
        | {
            "reason": _TEXT,
            "pods": {"type": "array"},
            "events": {"type": "array"},
            "recorded": _object(_COMPLETE),
            "hidden": {
                "type": "object",
                "description": "What you may not see (`events`, `pods`), and which permission you need for it.",
            },
        }
    ),
    "Record": _object(_RECORD, optional=dict.fromkeys(MEMBERSHIP, _TEXT)),
    "Page": _object(
        {
            "task": _object(_TASK),
            "records": {"type": "array", "items": _ref("Record")},
            "older": _MAYBE,
            "newer": _MAYBE,
            "stopped": _FLAG,
            "complete": _object(_COMPLETE),
        }
    ),
    "Error": _object({"error": _object({"code": _TEXT, "message": _TEXT, "hint": _TEXT})}),
}
#: Meaning of each status of an answer besides 200.
STATUSES: Final = {
    "400": "the query is wrong",
    "401": "not signed in",
    "403": "not allowed",
    "404": "there is no such task",
    "409": "this server reads another cluster or store",
    "410": "the lines at this cursor are no longer held",
    "429": "a limit is reached",
    "500": "the store cannot be read",
    "502": "the cluster answers with an error",
    "503": "the store is busy",
    "504": "the cluster does not answer",
    "507": "the store is full: its disk, or the memory of a Valkey server",
}


def _operation(summary: str, parameters: list[dict[str, Any]], answers: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": summary, "content": {kind: {"schema": schema} for kind, schema in answers.items()}}
    }
    error = {"application/json": {"schema": _ref("Error")}}
    responses |= {status: {"description": why, "content": error} for status, why in STATUSES.items()}
    for status in ("429", "503"):
        responses[status]["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds, if waiting helps."}
        }
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}


def _parameter(
    name: str, schema: dict[str, Any], description: str, *, required: bool = False, is_repeatable: bool = False
) -> dict[str, Any]:
    listed = {"type": "array", "items": schema, "minItems": int(required)} if is_repeatable else schema
    return {"name": name, "in": "query", "required": required, "schema": listed, "description": description}


def _parameters(*names: str) -> list[dict[str, Any]]:
    return [_parameter(name, *PARAMETERS[name], is_repeatable=name in SEVERAL) for name in names]


def _path_parameters() -> list[dict[str, Any]]:
    kinds = f"{', '.join(KINDS)}, a custom resource's kind and group (rayjob.ray.io), or task or - for any"
    schemas = {"namespace": _TEXT, "kind": {"type": "string", "description": kinds}, "name": _TEXT}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in schemas.items()]
