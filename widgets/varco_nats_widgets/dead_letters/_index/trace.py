"""Tracebacks of Python, Java, .NET and JavaScript in error messages: what was raised, where. Pure.

The only reader of tracebacks: groups of failures and the view's lines are made of what it says.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TRACEBACK = "Traceback (most recent call last):"
_PYTHON_FRAME = re.compile(r'\n[ \t]+File "([^"\n]*)", line \d+(?:, in ([^\n]+))?')
_RAISED = re.compile(r"\n(?=[^\s|+])")  # the first line after the frames
_NEXT_RAISED = re.compile(r"\n\n(?:The above exception was|During handling of the above)")

_AT = re.compile(r"\n[ \t]+at ")
_FRAME = re.compile(
    r"""
    \n[ \t]+at[ ](?:async[ ])?(?:new[ ])?
    (?: (?P<name> [^\n(]*? )[ ]?\( (?P<where> [^\n()]* ) \)
        (?: [ ]in[ ](?P<file> [^\n]+ ):line[ ]\d+ )?
      | (?P<bare> [^\s()]+ ):\d+:\d+ )
    """,
    re.VERBOSE,
)
_QUALIFIED = re.compile(r"[^\s.]+(?:\.[^\s.]+)+")
_IN_FILE = re.compile(r"(?P<file>[^\n]*?)(?::\d+){1,2}")
_OF_NO_FILE = frozenset({"Native Method", "Unknown Source", "<generated>", "<anonymous>"})
_INNER_NET = "--- End of inner exception stack trace ---"
_CAUSED_BY = re.compile(r"^[ \t]*Caused by: (.+)$", re.MULTILINE)
_INNER = re.compile(r"\n[ \t]*(?:Caused by|Suppressed|\[cause\]): ")

_LIBRARIES = frozenset({"site-packages", "dist-packages", "lib", "lib64", "node_modules"})
_NO_FILES = ("<", "node:", "internal/")
_FRAMEWORKS = (
    *("java.", "javax.", "jakarta.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala."),
    *("akka.", "groovy.", "clojure.", "org.springframework.", "org.apache.", "org.hibernate."),
    *("org.eclipse.", "org.jboss.", "org.postgresql.", "org.slf4j.", "org.junit.", "io.netty."),
    *("io.nats.", "io.quarkus.", "io.micronaut.", "io.micrometer.", "io.vertx.", "io.grpc."),
    *("io.reactivex.", "io.smallrye.", "reactor.", "com.fasterxml.", "com.google.", "com.zaxxer."),
    *("com.mysql.", "okhttp3.", "feign.", "ch.qos.logback.", "net.bytebuddy."),
    *("System.", "Microsoft.", "NATS.", "Npgsql.", "Newtonsoft.", "Polly.", "MassTransit."),
    *("Grpc.", "Google.", "Amazon.", "Azure.", "Serilog.", "StackExchange."),
)


class Raised(NamedTuple):
    """What a message says of the exception that was raised last."""

    said: str
    """Its text; of a message without a traceback that is the message."""
    frame: str = ""
    """The innermost frame of the service's own; "" where none is known."""
    is_trace: bool = True
    """Whether a traceback says it."""
    is_python: bool = False
    """Whether that is one of Python: then `said` begins with the line that says it."""


def raised_in(message: str) -> Raised:
    """The exception that was raised last, as the message says."""
    start = message.rfind(_TRACEBACK)
    found = None
    if start >= 0:
        found = _of_python(message, start)
    elif '  File "' in message and (frame := _PYTHON_FRAME.search(message)) is not None:
        found = _of_python(message, frame.start())  # its beginning was cut off
    elif (first := _AT.search(message)) is not None:
        found = _of_others(message, first.start())
    if found is None or not found.said.strip():
        return Raised(message, is_trace=False)
    return found


def last_cause(message: str) -> str:
    """What "Caused by:" says at the end of a trace of Java; "" in other messages."""
    causes = [] if _TRACEBACK in message else _CAUSED_BY.findall(message)
    return causes[-1].strip() if causes else ""


def _of_python(message: str, start: int) -> Raised | None:
    """What the traceback says that begins at `start`."""
    before = message.rfind("\n", 0, start) + 1
    margin = message[before:start].removesuffix("Exception Group ")
    is_margin = not margin.strip(" \t|+")  # of an exception group, or indented as a whole
    trace = message[start:]
    if margin and is_margin:
        trace = re.sub(rf"\n[ \t|+]{{1,{len(margin)}}}", "\n", trace)
    end = _RAISED.search(trace)
    if end is None:  # it was cut before its end: what was raised before is known at least
        earlier = _NEXT_RAISED.split(message[: before if is_margin else start])[0]
        return raised_in(earlier.rstrip()) if earlier.strip() else None
    place = end.start()
    while (place := trace.rfind('  File "', 0, place)) >= 0:
        line = trace.rfind("\n", 0, place + 1)
        frame = _PYTHON_FRAME.match(trace, max(line, 0))
        if frame is not None and _is_own_file(frame[1]):
            named = f"{frame[2]} ({_short(frame[1])})" if frame[2] else _short(frame[1])
            return Raised(trace[end.end() :], named, is_python=True)
    return Raised(trace[end.end() :], is_python=True)


def _of_others(message: str, first: int) -> Raised | None:
    """What a trace of Java, .NET or JavaScript says whose first frame may be at `first`."""
    said = message[:first].split("\n ---> ", 1)[0]
    inner = message.rfind(_INNER_NET)  # in .NET the frames of the last exception come last
    start = first if inner < 0 else inner
    rest = _INNER.search(message, start)
    is_trace = False
    for found in _FRAME.finditer(message, start, len(message) if rest is None else rest.start()):
        name, where, file, bare = found["name"], found["where"], found["file"], found["bare"]
        in_file = None if where is None else _IN_FILE.fullmatch(where)
        if bare is not None:
            file, name = bare, ""
        elif in_file is not None:
            file = in_file["file"]
        elif file is None and where not in _OF_NO_FILE and not _QUALIFIED.fullmatch(name):
            continue  # a text in parentheses
        is_trace = True
        name = name.rpartition("/")[2]  # without the module
        if where in _OF_NO_FILE or "$$" in name or name.startswith(_FRAMEWORKS):
            continue
        if file is not None and not _is_own_file(file, _LIBRARIES - {"lib"}):
            continue
        short = ".".join(name.split(".")[-2:])
        of = "" if file is None else _short(file)
        frame = f"{short} ({of})" if short and of else short or of
        return Raised(said, frame)
    return Raised(said) if is_trace else None


def _is_own_file(file: str, libraries: frozenset[str] = _LIBRARIES) -> bool:
    parts = file.replace("\\", "/").split("/")
    return not (file.startswith(_NO_FILES) or libraries.intersection(parts))


def _short(file: str) -> str:
    """The last parts of a path, as the folder that a service is installed in says nothing."""
    return "/".join(file.replace("\\", "/").split("/")[-3:])
