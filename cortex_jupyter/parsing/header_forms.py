r"""Headers that one line alone shows: times, levels, threads, processes and components in the forms of common loggers.

A form is here only if its parts cannot be words of a message. `Epoch: 3` after a level could be one, so a component before
a colon counts only with the name of a class (`storage.BlockManager:`), a process (`sshd[4021]:`) or a path (`app::db:`).
`headers.py` learns the others from all lines of a log. All digits count as equal here; `archive.spans` depends on it.
"""

from __future__ import annotations

import re
from typing import Final

_S: Final = r"[ \t]"
_LEVELS: Final = "TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN(?:ING)?|ERROR|SEVERE|CRITICAL|FATAL"
_CLOCK: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_DAY: Final = r"\d{4}[-/]\d\d[-/]\d\d"
_SOURCE: Final = r"[\w./<>+-]+:\d+"

#: What launchers write before each line: Ray, torchrun, Open MPI.
_LAUNCHER: Final = re.compile(
    r"(?:\[(?:rank|default)\d{1,6}\]: ?|\[\d{1,4},\d{1,6}\]<std(?:out|err)>: ?"
    r"|\((?:[\w.:<>()-]{1,40}[ ])?(?:rank=\d{1,6}[ ])?pid=\d{1,10}(?:,[ ]ip=[\w.:]{1,39})?\)[ ]"
    # The name of a file, which a collector of several files writes before each line.
    r"|[\w./-]{1,25}\.log[\w.:-]{0,25}[ ](?=\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]\d{3}[ ]\d))"
)
#: Such prefixes begin before this position.
_PREFIXES: Final = 40
_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
#: The longest of the whole headers that are not in `_WHOLE_OPEN` (characters).
_BOUNDED: Final = 96
#: A whole header whose beginning tells its form.
_WHOLE: Final = re.compile(
    rf"""
    # klog, glog, absl: `I0102 10:00:00.000000 1 file.go:12] `; TensorFlow has the date before the letter
    \[?[IWEF](?:\d{{3,4}}|\d{{8}}){_S}(?:\d\d:\d\d:\d\d|\d\d:\d\d:\d{{10}})\.\d{{3,9}}{_S}+(?:\d+{_S}+)?[^\s\]]+:\d+\]{_S}
    | {_DAY}{_S}{_CLOCK}:{_S}[IWEF]{_S}[^\s\]]+:\d+\]{_S}
    # Android: `03-17 16:13:38.811  1702  2395 D WindowManager: `
    | \d\d-\d\d{_S}{_CLOCK}{_S}{{1,6}}\d{{1,7}}{_S}{{1,6}}\d{{1,7}}{_S}[VDIWEFA]{_S}[^\s:]{{1,40}}{_S}{{0,4}}:{_S}
    # Tornado and Jupyter: `[I 2026-01-31 12:00:00.123 ServerApp] `
    | \[[DIWEC]{_S}{_DAY}{_S}{_CLOCK}{_S}[\w.-]{{1,40}}(?::\d+)?\]{_S}
    # Valkey and Redis: `7:M 25 Nov 2026 17:54:04.342 * `
    | \d{{1,7}}:[A-Z]{_S}\d\d{_S}[A-Z][a-z][a-z]{_S}\d{{4}}{_S}{_CLOCK}{_S}[-.*\#]{_S}
    # Celery: `[2026-01-31 12:00:00,123: INFO/MainProcess] `
    | \[{_DAY}{_S}{_CLOCK}:{_S}(?:{_LEVELS})/[\w.-]{{1,40}}\]{_S}
    # Ray: `[2026-01-31 12:00:00,123 I 12 34] core_worker.cc:5: `
    | \[{_DAY}{_S}\d\d:\d\d:\d\d,\d{{3}}{_S}[DIWEFC]{_S}\d{{1,7}}{_S}\d{{1,7}}\]{_S}(?:\([\w-]{{1,12}}\){_S})?[\w./-]{{1,28}}:\d{{1,5}}:{_S}
    # env_logger: `[2026-01-31T12:00:00Z DEBUG app::db] `
    | \[{_DAY}T{_CLOCK}Z?{_S}(?:{_LEVELS}){_S}{{1,2}}[\w:]{{1,48}}\]{_S}
    # Hydra: `[2026-01-31 12:00:00,123][__main__][INFO] - `
    | \[{_DAY}{_S}{_CLOCK}\]\[[\w.-]{{1,40}}\]\[(?:{_LEVELS})\]{_S}-{_S}
    # Transformers: `[INFO|trainer.py:12] 2026-01-31 12:00:00,123 >> `
    | \[(?:{_LEVELS})\|[\w./-]{{1,40}}:\d{{1,6}}\]{_S}(?:{_DAY}{_S}{_CLOCK}{_S})?>>{_S}
    # Serilog: `[12:00:00 INF] `
    | \[{_CLOCK}{_S}(?:VRB|DBG|INF|WRN|ERR|FTL)\]{_S}
    # Python's `basicConfig`: `WARNING:root:`
    | (?:DEBUG|INFO|WARNING|ERROR|CRITICAL):[A-Za-z_][\w.-]{{0,80}}:(?=\S)(?!//)
    # vLLM: `INFO 01-31 12:00:00 [engine.py:12] `
    | (?:{_LEVELS}){_S}\d\d-\d\d{_S}{_CLOCK}{_S}\[?[\w./-]{{1,50}}:\d+\]{_S}
    # Ruby: `I, [2026-01-31T12:00:00.123456 #12]  INFO -- : `
    | [DIWEFA],{_S}\[{_DAY}T{_CLOCK}{_S}\#\d{{1,7}}\]{_S}+[A-Z]{{3,5}}{_S}--{_S}[\w.-]{{0,20}}:{_S}
    # Apache: `[Sun Dec 04 04:47:44 2005] [core:notice] [pid 1:tid 2] `
    | \[[A-Z][a-z][a-z]{_S}[A-Z][a-z][a-z]{_S}[\d ]\d{_S}{_CLOCK}{_S}\d{{4}}\]{_S}\[(?:[\w-]{{0,24}}:)?[a-z]{{4,6}}\d?\]{_S}
        (?:\[pid{_S}\d+(?::tid{_S}\d+)?\]{_S})?
    # Blue Gene and other clusters' RAS: `- 1117838570 2005.06.03 node 2005-06-03-15.42.50.675872 node RAS KERNEL INFO `
    | (?:-|[A-Z]+){_S}\d{{10}}{_S}\d{{4}}\.\d\d\.\d\d{_S}\S+{_S}(?:
        \d{{4}}-\d\d-\d\d-\d\d\.\d\d\.\d\d\.\d{{6}}{_S}\S+{_S}[A-Z]+{_S}\S+{_S}(?:{_LEVELS}|FAILURE){_S}
        | [A-Z][a-z][a-z]{_S}+\d{{1,2}}{_S}\d\d:\d\d:\d\d{_S}\S+{_S}[\w./-]+(?:\([\w.-]+\))?(?:\[\d+\])?:{_S})
    """,
    re.VERBOSE | re.ASCII,
)
#: Beginnings of the forms above that can be longer than what `archive.spans` reads of a line.
_WHOLE_OPEN: Final = re.compile(
    rf"\[?[IWEF]\d{{3,8}}{_S}\d|{_DAY}{_S}{_CLOCK}:{_S}[IWEF]{_S}[^\s\]]*\Z|(?:-|[A-Z]+){_S}\d{{10}}{_S}\d{{4}}\.|\[[A-Z][a-z][a-z]{_S}[A-Z][a-z][a-z]{_S}"
    rf"|(?:{_LEVELS}):[\w.-]*:?\Z",
    re.ASCII,
)
#: syslog: `Jun 14 15:16:01 combo sshd(pam_unix)[19939]: `. Without a process, a tag could be a word of the message.
_SYSLOG: Final = re.compile(
    rf"[A-Z][a-z][a-z]{_S}[\d ]\d{_S}\d\d:\d\d:\d\d{_S}(?:[\w.:-]+{_S}(?:[\w./@-]+(?:\([\w.-]+\))?\[\d+\](?:{_S}\([^()\s]*\))?|kernel|[\w./-]+\([\w.-]+\)):{_S})?",
    re.ASCII,
)
_SYSLOG_OPEN: Final = re.compile(
    rf"[A-Z][a-z][a-z]{_S}[\d ]\d{_S}\d\d:\d\d:\d\d{_S}\S+{_S}*\S*(?:{_S}\([^()\s]*\)?:?)?\Z", re.ASCII
)
#: A date and time at the beginning, with brackets or without.
_TIME: Final = re.compile(
    r"(\[)?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?(?(1)\])(?:\s*[|:-]\s+|\s+)"
)
#: Times that count only if a level follows, here or behind a thread: Spark's, HDFS' with a process, and a clock alone.
_SHORT_TIME: Final = re.compile(
    rf"(?:\d\d/\d\d/\d\d(?:\d\d)?{_S}{_CLOCK}|\d{{6}}{_S}\d{{6}}{_S}\d{{1,8}}|{_CLOCK}){_S}+(?:-{_S})?(?=(?:\[[^\]]{{0,40}}\]{_S}+)?(?:{_LEVELS})(?!\w))"
)
_LEVEL: Final = re.compile(
    r"(?:\[\s*(?P<box>[A-Za-z]{3,11})\s*\]:?|(?P<word>TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|SEVERE|CRITICAL|FATAL):?)"
    r"(?:\s+(?:[|:-]\s+)?)"
)
_BOXED: Final = frozenset(
    {"trace", "debug", "info", "notice", "warn", "warning", "error", "severe", "critical", "fatal"}
)
#: Ends of the names of exceptions: they are a part of the message.
_EXCEPTIONS: Final = [
    "Exception",
    "Error",
    "Warning",
    "Throwable",
    "Interrupt",
    "Timeout",
    "Expired",
    "Exceeded",
    "Empty",
    "Full",
    "Exit",
    "Exist",
    "Found",
    "Fault",
    "Failure",
    "Failed",
    "Abort",
    "Aborted",
    "Iteration",
    "Group",
    "Closed",
    "Refused",
    "Denied",
    "Forbidden",
    "Conflict",
]
_CLASS: Final = r"(?:[\w$-]+\.)+(?=\w*[a-z])[A-Z][\w$]*" + "".join(f"(?<!{name})" for name in _EXCEPTIONS)
#: No number alone may follow a component: that of `train.Loss: 0.5` is the value of a name.
_NO_NUMBER: Final = r"(?![-+]?[\d.]+%?(?:[\s,;]|\Z))"
#: The text between a time and its level, with the level.
_TO_LEVEL: Final = re.compile(
    rf"""(?:
    [\w.-]+{_S}+-{_S}+(?:{_LEVELS}){_S}+-{_S}+                              # logging: `root - WARNING - `
    | (?:\[[^\]]*\]{_S}+)+(?:{_LEVELS}){_S}+(?:(?=[A-Z]|\S*\.)[\w.$/-]+{_S}+-{_S}+{_NO_NUMBER})? # logback: `[main] ERROR com.example.App - `
    | \[\d+\]{_S}\[(?:{_LEVELS})\]{_S}+                                     # gunicorn: `[7] [INFO] `
    | \{{[\w./-]+:\d+\}}{_S}(?:{_LEVELS}){_S}-{_S}                           # Airflow: `{{task.py:12}} INFO - `
    | \d+{_S}(?:{_LEVELS}){_S}[\w.]+{_S}\[(?:-|(?:None{_S})?req-[^\]]*)\]{_S}   # oslo: `2931 INFO nova.driver [req-1 - -] `
    | [a-z]+\t(?:[\w./-]+\t)?(?:[\w./@-]+\.go:\d+\t)?                       # zap: `info\tsetup\tmain.go:12\t`
    | SUCCESS{_S}+\|{_S}+                                                  # loguru
    | [\w.-]+{_S}[\w./-]+(?:\([\w.-]+\))?\[\d+\]:{_S}                        # journalctl: `host sshd[12]: `
    )""",
    re.VERBOSE | re.ASCII,
)
_ZAP: Final = re.compile(r"(?:debug|info|warn|error|dpanic|panic|fatal)\t")
#: The text between a level and the message.
_COMPONENT: Final = re.compile(
    rf"""(?:
    (?:\[[^\]]*\]{_S}+){_CLASS}:{_S}+                                      # Hadoop: `[main] org.example.App: `
    | {_CLASS}(?::{_S}+|{_S}+-{_S}+){_NO_NUMBER}                              # Spark: `storage.BlockManager: `
    | \[(?:[^\[\]]|\[[^\]]*\])*@\d+\]{_S}+-{_S}+                           # log4j: `[main:QuorumPeer@12] - `
    | \[[^\]]*\]{_S}+(?=[A-Z]|\S*\.)[\w.$]+{_S}+-{_S}+{_NO_NUMBER}                    # log4j: `[main] com.example.App - `
    | [\w.<>]+:[\w.<>]+:\d+{_S}-{_S}                                       # loguru: `app:run:3 - `
    | \d+{_S}---{_S}(?:\[[^\]]*\]{_S}*){{1,3}}[\w.$\[\]/-]+{_S}+:{_S}         # Spring Boot: `1 --- [ main] c.e.App : `
    | \[{_SOURCE}(?::[\w<>]+)?\]{_S}+                                       # DeepSpeed: `[logging.py:96:log_dist] `
    | (?!std::|boost::)[a-z_][a-z\d_]*(?:::[a-z_][a-z\d_]*)+:{_S}                                                   # tracing: `app::db: `
    | \d+\#\d+:{_S}                                                        # nginx: `7#7: `
    )""",
    re.VERBOSE | re.ASCII,
)
#: Windows' component-based servicing: `2016-09-28 04:30:30, Info                  CBS    `
_WINDOWS: Final = re.compile(rf"{_DAY} {_CLOCK}, [A-Z][a-z]{{2,8}}{_S}{{2,24}}\w{{1,12}}{_S}{{2,8}}", re.ASCII)
#: A group in brackets, without its closing one; it may hold another group.
_GROUP: Final = r"\[(?:[^\[\]]|\[[^\]]*\])*"
#: An unfinished header at the end of a line's beginning: columns, then at most three words and a group.
_OPEN: Final = re.compile(
    rf"(?:(?:[-:|]+|\d+|[A-Z]+)\s+|{_GROUP}\]\s*|\{{[^}}]*\}}\s*)*[^\s\[]*(?:\s+[^\s\[]+){{0,2}}\s*"
    rf"(?:{_GROUP}(?:\[[^\]]*|\]:?)?|\([^()\s]*\)?:?|[-:|])?\s*\Z"
)


def header_end(line: str) -> int:
    """Return where the message of a line begins, behind its header; 0 if it has none.

    Parameters
    ----------
    line : str
        Without control sequences (`fields.plain`).

    Examples
    --------
    >>> lines = ["2026-01-31 12:00:00,123 WARNING disk is full", "Jun 14 15:16:01 web-1 sshd[19]: bye"]
    >>> lines += ["17/06/09 20:10:40 INFO storage.MemoryStore: cleared", "[rank0]: ValueError: no", "Epoch: 3"]
    >>> [line[header_end(line) :] for line in lines]
    ['disk is full', 'bye', 'cleared', 'ValueError: no', 'Epoch: 3']
    """
    return parse_header(line)[0]


def is_open(beginning: str, header: tuple[int, int, bool]) -> bool:
    """Return whether more of a line may make its header longer than its beginning shows.

    Parameters
    ----------
    beginning : str
    header : tuple
        What `parse_header` returns for it.

    Examples
    --------
    >>> beginnings = ["2026-01-31 12:00:00 INFO [a thread", "2026-01-31 12:00:00 INFO The disk is full"]
    >>> [is_open(beginning, parse_header(beginning)) for beginning in beginnings]
    [True, False]
    """
    at, start, has_time = header
    if start and len(beginning) - start < _BOUNDED:
        return True
    if has_time:
        return _OPEN.match(beginning, at) is not None
    return (_SYSLOG_OPEN if at > start else _WHOLE_OPEN).match(beginning, start) is not None


def parse_header(line: str) -> tuple[int, int, bool]:
    """Return the header's end, the end of the launcher's prefix, and whether columns could follow the header."""
    at = 0
    while at < _PREFIXES and (match := _LAUNCHER.match(line, at)):
        at = match.end()
    start = at
    if line[at : at + 1] in _LOWER:  # no header begins so, but most prints do
        return at, start, False
    if match := _WHOLE.match(line, at) or _WINDOWS.match(line, at):
        return match.end(), start, False
    if match := _SYSLOG.match(line, at):
        return match.end(), start, False
    match = _TIME.match(line, at) or _SHORT_TIME.match(line, at)
    if match:
        at = match.end()
        between = _TO_LEVEL.match(line, at)
        if between and (line[at] not in "abcdefghijklmnopqrstuvwxyz" or "\t" not in between[0] or _ZAP.match(line, at)):
            at = between.end()
            return (match.end() if (match := _COMPONENT.match(line, at)) else at), start, True
    level = _LEVEL.match(line, at)
    if level and (level["word"] or level["box"].lower() in _BOXED):
        at = level.end()
        if match and (component := _COMPONENT.match(line, at)):
            at = component.end()
    return at, start, bool(match)
