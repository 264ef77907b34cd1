"""What tells the cause of a failure by its error message: one text for all failures of it. Pure.

Of a message with a traceback that is the exception that was raised last, with the innermost frame
of the service's own code; of any other the message itself; in both without what differs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_MAX_MESSAGE = 1000  # characters that are looked at
_MAX_TEXT = 300
_MAX_RAISED = 160  # of a message with a traceback, which has its frame as well
_CUT = "…"

# `plain` is all up to where one of the others may begin, as trying them at each character takes
# twenty times as long
_TOKEN = re.compile(
    r"""
    (?P<plain> (?: [^\W\d]++ (?! \d | (?<= \b[a-fA-F]{8} ) -[0-9a-fA-F]{4}- )
                 | [^\w\s'"`\u2018\u201c+-]++
                 | [ ](?!\s)
                 | (?<=\w)['"`\u2018\u201c]
                 | [+-](?!\d) )*+ )
  (?: (?P<value> (?<!\w) (?: '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" | `[^`\n]*`
                           | \u2018[^\u2019\n]*\u2019 | \u201c[^\u201d\n]*\u201d ) (?!\w) )
    | (?P<id> \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b
            | \b(?=\d*[a-fA-F])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b
            | \b(?=\d*[A-Za-z])(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}\b )
    | (?P<time> \b\d{4}-\d\d-\d\d (?:[T\ ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?
                (?:\ ?Z\b|\ ?[+-]\d\d:?\d\d\b)?
              | \b\d\d:\d\d:\d\d(?:[.,]\d+)? )
    | (?P<hex> \b0[xX][0-9a-fA-F]+\b )
    | (?P<n> (?:(?<![\w)\]])[-+])? \d+(?:[.,_]\d+)*(?:[eE][-+]?\d+\b)? )
    | (?P<space> \s+ )
    | (?P<other> [^\W\d]++ | [^\n] )
    | \Z )
    """,
    re.VERBOSE,
)

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


class _Raised(NamedTuple):
    """What a message says of the exception that was raised last."""

    said: str
    frame: str
    """The innermost frame of the service's own; "" where none is known."""
    limit: int
    """Characters of the text that tell the cause."""


def cause_of(message: str) -> str:
    """What failures of one cause have in common, on one line; `…` at its end where it was cut."""
    raised = _raised(message)
    said = raised.said[: _MAX_MESSAGE + 1]  # one more, so that it is known to be cut
    return _cause(said, raised.frame, raised.limit)


@lru_cache(maxsize=20_000)
def _cause(said: str, frame: str, limit: int) -> str:
    text = normalised(said, limit)
    return f"{text} — {frame}" if frame else text


def normalised(message: str, limit: int = _MAX_TEXT) -> str:
    """`message` with `<value>`, `<id>`, `<time>`, `<hex>` and `<n>` for what differs, on one line.

    Two messages of one cause become equal: `order o-17: "Ada" is 3 years` and
    `order o-4711: "Bob" is 40 years` are both `order o-<n>: <value> is <n> years`.

    Args:
        limit: characters of the result, after which `…` stands for the rest.
    """
    parts: list[str] = []
    length = 0
    is_cut = len(message) > _MAX_MESSAGE
    for found in _TOKEN.finditer(message[:_MAX_MESSAGE].lstrip()):
        kind = found.lastgroup
        if kind in ("plain", "other"):
            part = found[0]
        else:
            part = f"{found['plain']} " if kind == "space" else f"{found['plain']}<{kind}>"
        parts.append(part)
        length += len(part)
        if length > limit + 1:
            is_cut = True
            break
    text = "".join(parts).strip()
    if len(text) > limit or is_cut:
        return text[:limit].rstrip() + _CUT
    return text


def _raised(message: str) -> _Raised:
    start = message.rfind(_TRACEBACK)
    found = None
    if start >= 0:
        found = _of_python(message, start)
    elif (first := _AT.search(message)) is not None:
        found = _of_others(message, first.start())
    if found is None or not found.said.strip():
        return _Raised(message, "", _MAX_TEXT)
    return found


def _of_python(message: str, start: int) -> _Raised | None:
    """What the traceback says that begins at `start`."""
    before = message.rfind("\n", 0, start) + 1
    margin = message[before:start].removesuffix("Exception Group ")
    trace = message[start:]
    if margin and not margin.strip(" \t|+"):  # of an exception group, or indented as a whole
        trace = re.sub(rf"\n[ \t|+]{{1,{len(margin)}}}", "\n", trace)
    end = _RAISED.search(trace)
    if end is None:  # it was cut before its end: what was raised before is known at least
        earlier = _NEXT_RAISED.split(message[:start])[0] if start else ""
        return _raised(earlier.rstrip()) if earlier.strip() else None
    place = end.start()
    while (place := trace.rfind('  File "', 0, place)) >= 0:
        line = trace.rfind("\n", 0, place + 1)
        frame = _PYTHON_FRAME.match(trace, max(line, 0))
        if frame is not None and _is_own_file(frame[1]):
            named = f"{frame[2]} ({_short(frame[1])})" if frame[2] else _short(frame[1])
            return _Raised(trace[end.end() :], named, _MAX_RAISED)
    return _Raised(trace[end.end() :], "", _MAX_RAISED)


def _of_others(message: str, first: int) -> _Raised | None:
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
        return _Raised(said, frame, _MAX_RAISED)
    return _Raised(said, "", _MAX_RAISED) if is_trace else None


def _is_own_file(file: str, libraries: frozenset[str] = _LIBRARIES) -> bool:
    parts = file.replace("\\", "/").split("/")
    return not (file.startswith(_NO_FILES) or libraries.intersection(parts))


def _short(file: str) -> str:
    """The last parts of a path, as the folder that a service is installed in says nothing."""
    return "/".join(file.replace("\\", "/").split("/")[-3:])
