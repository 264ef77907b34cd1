"""Which fields the patterns of a mask mean: an automaton over the names of fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from varco_nats._masks._events import TYPE_KEY, VALUE
from varco_nats.errors import VarcoNatsError

_ANY = ("*", "**")  # any number of levels, also none
_PREFIX = "data"  # a column's name may have it in front; it counts for nothing
_COLUMNS = {"type": "event_type", "id": "event_id", "time": "timestamp"}  # of an envelope
_MAX_REMEMBERED = 20_000  # names of fields, of which strangers may make up any number


class MaskPatternError(VarcoNatsError, ValueError):
    """A pattern of a mask that cannot be read.

    Attributes:
        pattern: as it was given.
        reason: what is wrong with it.
    """

    def __init__(self, pattern: object, reason: str) -> None:
        self.pattern = pattern
        self.reason = reason
        super().__init__(f"mask {pattern!r}: {reason}")


class Step(NamedTuple):
    """What the name of a field leads to."""

    matched: frozenset[int]
    """The patterns that mean this field, by index; if there are any, it is masked whole."""
    inside: State | None
    """For the fields inside of it; None if no pattern can mean one of them."""


class State:
    """Where the names of the fields around have led to in the patterns."""

    def __init__(
        self,
        automaton: Automaton,
        positions: frozenset[tuple[int, int]],
        aliases: Callable[[str], Iterable[str]],
    ) -> None:
        self._automaton = automaton
        self.positions = positions
        self._aliases = aliases
        self.steps: dict[str, Step] = {}
        """Those that were taken before, by name."""
        self.elements = frozenset(p for p, i in positions if i and automaton.ends_with_any(p, i))
        """The patterns that mean whatever is in here, such as `customer.*`."""

    def step(self, name: str) -> Step:
        """What the field of this name leads to."""
        matched: set[int] = set()
        positions: set[tuple[int, int]] = set()
        for alias in self._aliases(name):
            found, reached = self._automaton.follow(self.positions, alias)
            matched |= found
            positions |= reached
        inside = self._automaton.state(positions) if positions else None
        step = Step(frozenset(matched), inside)
        self._automaton.make_room()
        self.steps[name] = step
        return step


class Roots(NamedTuple):
    """Where the fields of an event begin."""

    event: State
    envelope: State
    """For a CloudEvents envelope."""


class Automaton:
    """All patterns at once.

    Attributes:
        roots: for a payload that is an object.
        value: what the name `value` leads to, which is the column of any other payload.
        element_roots: for the objects in a payload that is a list.
        headers: what the name `headers` leads to.
        of_headers: the patterns that are of headers.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._tokens = [tokens_of(pattern) for pattern in patterns]
        self._states: dict[frozenset[tuple[int, int]], State] = {}
        self._remembered = 0
        start = frozenset(self._with_optional({(p, 0) for p in range(len(self._tokens))}))
        self.roots = self._roots(start)
        self.value = self.state(start).step(VALUE)
        inside = self.value.inside
        self.element_roots = self._roots(start | (inside.positions if inside else frozenset()))
        self.headers = self.state(start).step("headers")
        self.of_headers = frozenset(p for p, t in enumerate(self._tokens) if t[1] == "headers")

    def state(self, positions: Collection[tuple[int, int]]) -> State:
        """The state for these positions, each the index of a pattern and of a name in it."""
        key = frozenset(positions)
        state = self._states.get(key)
        if state is None:
            state = self._states.setdefault(key, State(self, key, lambda name: (name,)))
        return state

    def make_room(self) -> None:
        """Forget all steps when there are too many; they are found anew."""
        self._remembered += 1
        if self._remembered > _MAX_REMEMBERED:
            self._remembered = 0
            for state in [*self.roots, *self.element_roots, *list(self._states.values())]:
                state.steps = {}

    def _roots(self, positions: frozenset[tuple[int, int]]) -> Roots:
        return Roots(
            State(self, positions, _names_in_event), State(self, positions, _names_in_envelope)
        )

    def ends_with_any(self, pattern: int, index: int) -> bool:
        tokens = self._tokens[pattern]
        return index == len(tokens) - 1 and tokens[index] in _ANY

    def follow(
        self, positions: Iterable[tuple[int, int]], name: str
    ) -> tuple[set[int], set[tuple[int, int]]]:
        """The patterns that a field of this name completes, and the positions it leads to.

        A name with dots counts as several: its column is called like that of a nested field.
        """
        matched: set[int] = set()
        reached = set(positions)
        for part in _clean(name).casefold().split("."):
            following: set[tuple[int, int]] = set()
            for pattern, index in reached:
                tokens = self._tokens[pattern]
                token = tokens[index]
                if token in _ANY if index else part == token:
                    following.add((pattern, index))
                    fits = index == len(tokens) - 1
                else:
                    fits = index > 0 and _fits(token, part)
                    if fits and index + 1 < len(tokens):
                        following.add((pattern, index + 1))
                if fits and index == len(tokens) - 1:
                    matched.add(pattern)
            reached = self._with_optional(following)
        return matched, reached

    def _with_optional(self, positions: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """With the positions behind names that may stand for no level at all."""
        found = set(positions)
        todo = list(positions)
        while todo:
            pattern, index = todo.pop()
            tokens, after = self._tokens[pattern], (pattern, index + 1)
            is_optional = index == 0 or tokens[index] in _ANY
            if is_optional and index + 1 < len(tokens) and after not in found:
                found.add(after)
                todo.append(after)
        return found


def tokens_of(pattern: object) -> tuple[str, ...]:
    """The names in a pattern in lower case, after one for a prefix that may be there or not.

    Raises:
        MaskPatternError: it cannot be read.
    """
    if not isinstance(pattern, str):
        raise MaskPatternError(pattern, "a pattern is a text such as 'customer.email'")
    tokens = [_clean(token.strip()).casefold() for token in pattern.split(".")]
    if not any(tokens):
        raise MaskPatternError(pattern, "it names no field")
    if not all(tokens):
        raise MaskPatternError(pattern, "a name is missing beside a dot")
    if "[" in pattern or "]" in pattern:
        raise MaskPatternError(
            pattern, "a mask has no place in a list: 'items.iban' masks it in each of the items"
        )
    while len(tokens) > 1 and tokens[0] == _PREFIX:
        tokens.pop(0)
    return (_PREFIX, *tokens)


def _fits(token: str, name: str) -> bool:
    """Whether `name` is `token`, in which a `*` stands for any characters."""
    first, *others = token.split("*")
    if not others:
        return name == token
    *middle, last = others
    if not name.startswith(first):
        return False
    place = len(first)
    for part in middle:
        place = name.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return len(name) - len(last) >= place and name.endswith(last)


def _names_in_event(name: str) -> tuple[str, ...]:
    return (name, "event_type") if name == TYPE_KEY else (name,)


def _names_in_envelope(name: str) -> tuple[str, ...]:
    return (name, f"ce.{name}", *([_COLUMNS[name]] if name in _COLUMNS else []))


def _clean(text: str) -> str:
    """`text` with what UTF-8 cannot hold escaped, as the names of columns have it."""
    return text.encode(errors="backslashreplace").decode()
