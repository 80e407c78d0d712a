"""A YAML file read strictly: every scalar stays the text that was written, nothing hides surprises.

No anchors, aliases, tags, merge keys, duplicate keys, second documents. Values are str, list, dict
or EMPTY (nothing, `~` or `null`). Positions are for messages only: they are looked up in a second
pass, when something is wrong.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any

from ..base.errors import BadInput, Problem

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 20
MAX_COMPLAINTS = 100  # about the text itself, of one kind; an alias bomb has many
MAX_DOUBLED = 10_000  # keys that come twice
Path = tuple[Any, ...]  # keys (str) and list indexes (int) from the top


class Empty:
    """What stands where a value was left out."""

    def __repr__(self) -> str:
        return "nothing"


EMPTY = Empty()
NULLS = frozenset(("~", "null", "Null", "NULL"))
EMPTY_WORDS = NULLS | {""}
SPECIAL_WORDS = EMPTY_WORDS | {"<<"}

# Control characters, zero-width and bidirectional ones (they show a reviewer another text than the
# machine reads), other line separators, byte-order marks inside the text, non-characters.
UNSEEN = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
_SEEN = bytes((*b"\r\n", *range(ord(" "), ord("~") + 1)))
TABS = "tab character in the indentation; indent with spaces"
TAB_INDENT = r"(?m)^( *)\t[ \t]*(?=[^\s#])"
MARKS = {
    b"\xef\xbb\xbf": "UTF-8",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\0\0\xfe\xff": "UTF-32",
}
Place = tuple[int, int]  # line and column, from 1


class YamlSource:
    """One file: `data` is what it says (a dict), `problems` what was wrong with its keys.

    Raises BadInput at once where reading further would be guessing (syntax, aliases, tags…).
    """

    def __init__(self, file: str, content: bytes | None = None):
        self.file = file  # as the user wrote it
        self.content = read_yaml(file) if content is None else content
        self.problems: list[Problem] = []
        _check_text(file, self.content)
        self.data = self._parse()

    def problem(self, path: Path, message: str, key: bool = False) -> Problem:
        """A problem with the value at `path` (or its key), naming where: `nodes.wn001.mac: …`."""
        line, column = self.place(path, key)
        return Problem(self.file, line, column, f"{spell(path)}: {message}" if path else message)

    def place(self, path: Path, key: bool = False) -> Place:
        """Where the value (or key) at `path` is; if there is none, its closest parent's key."""
        if path in self._places:
            of_key, of_value = self._places[path]
            return of_key if key else of_value
        while path and path not in self._places:
            path = path[:-1]
        return self._places[path][0] if path else (1, 1)

    @cached_property
    def _places(self) -> dict[Path, tuple[Place, Place]]:
        """Of every path the place of its key and of its value."""
        import yaml

        top = yaml.compose(self.content, Loader=_loader())
        places: dict[Path, tuple[Place, Place]] = {}
        pending: list[tuple[Path, Any, Any]] = [((), None, top)]
        while pending:  # the last first: of doubled keys the first one's place stays
            path, key, node = pending.pop()
            place = _mark(node)
            places[path] = (_mark(key) if key else place, place)
            for name, at, value in _children(node):
                pending.append(((*path, name), at, value))
        return places

    def _parse(self) -> dict[str, Any]:
        import yaml

        with suppress(BadInput, yaml.YAMLError):
            if found := self._parse_rest():
                return found
        self.problems.clear()  # they are those of another text
        try:
            return _Parser(self, self.content).document()
        except yaml.YAMLError as error:
            wrong = _syntax(self.file, error)
            raise BadInput([*self.problems, wrong]) from None

    def _parse_rest(self) -> dict[str, Any] | None:
        """The same with less than half the work, where plain rows follow `nodes:`: without these.

        None where there are none, or where it is not certain that libyaml would read the same.
        """
        head, rows, rest = _plain_rows(self.content.decode())
        if not rows:
            return None
        parser = _Parser(self, f"{head}{rest}")
        data = parser.document()
        key = parser.keys.get("nodes")
        if self.problems or key is None or key.start_mark.line + 1 != head.count("\n"):
            return None
        others = {} if data["nodes"] is EMPTY else data["nodes"]
        if not isinstance(others, dict) or not rows.keys().isdisjoint(others):
            return None
        return {**data, "nodes": {**rows, **others}}


# `  wn001: {mac: "52:54:00:12:34:56", ip: 172.24.10.101, groups: [gpu]}`: in these characters a
# word is itself to YAML, and the line stands for itself
_NAME = r"[A-Za-z0-9][A-Za-z0-9.-]*"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_QUOTED = r'"[ !#-\[\]-~]*"'
_LIST = rf"\[{_WORD}(?:, {_WORD})*\]"
_PAIR = rf"[a-z_0-9]+: (?:{_WORD}|{_QUOTED}|{_LIST})"
_WORDS = r"#[^\r\n]*"  # to libyaml either ends a line
_ROW = re.compile(rf"  ({_NAME}): \{{({_PAIR}(?:, {_PAIR})*)\}}(?: +{_WORDS})?\n| *(?:{_WORDS})?\n")
_PARTS = re.compile(rf'([a-z_0-9]+): (?:({_WORD})|"([^"]*)"|\[(.*?)\])')
_NODES = re.compile(rf"^nodes:(?: +{_WORDS})?\n", re.MULTILINE)
_AFTER = re.compile(r"(?:  )?\S|\Z")  # another key beside or above them


def _plain_rows(text: str) -> tuple[str, dict[str, Any], str]:
    """The text up to `nodes:`, the rows that follow at once, and the rest; no rows: not certain."""
    start = _NODES.search(text)
    if start is None:
        return text, {}, ""
    rows: dict[str, Any] = {}
    count, at = 0, start.end()
    while line := _ROW.match(text, at):
        name, pairs = line.groups()
        row = _row(pairs) if name else {}
        if row is None or name in NULLS:
            break
        if name:
            rows[name] = row
            count += 1
        at = line.end()
    is_certain = len(rows) == count and _AFTER.match(text, at)
    return text[: start.end()], rows if is_certain else {}, text[at:]


def _row(pairs: str) -> dict[str, Any] | None:
    """What is between a row's braces; None where a word is more than itself, or comes twice."""
    parts = _PARTS.findall(pairs)
    row: dict[str, Any] = {}
    for key, word, quoted, words in parts:
        plain = words.split(", ") if words else [word]
        if not NULLS.isdisjoint((key, *plain)):
            return None
        row[key] = plain if words else word or quoted
    return row if len(row) == len(parts) else None


class _Parser:
    """Builds values from libyaml's events. What is refused is noted, and reading goes on."""

    def __init__(self, source: YamlSource, text: str | bytes):
        import yaml

        self.source = source
        self.keys: dict[str, Any] = {}  # the top's, each with its event
        self.refused = 0
        self.path: list[Any] = []
        self.next: Callable[[], Any] = _loader()(text).get_event
        self.scalar = yaml.ScalarEvent
        self.mapping = yaml.MappingStartEvent
        self.alias = yaml.AliasEvent
        self.ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        self.document_start = yaml.DocumentStartEvent

    def document(self) -> dict[str, Any]:
        self.next()
        start = self.next()
        first = self.next() if type(start) is self.document_start else start
        data = self.value(first, 1) if first is not start else EMPTY
        if data is EMPTY and not self.refused:
            raise BadInput.at(
                self.source.file,
                "the file is empty; docs/site.md has an example to begin with",
            )
        if not isinstance(data, dict):
            self.refuse(
                first,
                f"the top level must be a mapping, not {kind(data)}; begin with `site: NAME`",
            )
        self.next()
        after = self.next()
        if type(after) is self.document_start:
            self.refuse(
                after,
                "more than one document; a site is one document, without `---` inside",
            )
        if self.refused:
            raise BadInput(self.source.problems)
        return data  # type: ignore[return-value]

    def value(self, event: Any, depth: int) -> Any:
        what = type(event)
        if what is self.alias or event.anchor or event.tag:
            self.marked(event)
        if what is self.scalar:
            text = event.value
            is_empty = text in EMPTY_WORDS and event.implicit[0]
            return EMPTY if is_empty else text
        if what is self.alias:
            return EMPTY
        if depth > MAX_DEPTH:
            self.path = self.path[:2]
            self.refuse(
                event,
                f"nested deeper than {MAX_DEPTH}; a site needs no more than eight levels",
            )
            raise BadInput(self.source.problems)
        read = self.pairs if what is self.mapping else self.items
        return read(depth + 1)

    def pairs(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        keys: dict[str, Any] = {}  # -> the event, for its line
        path, following, is_plain = self.path, self.next, self.is_plain
        while type(event := following()) not in self.ends:
            key = event.value if is_plain(event) else self.key(event, depth)
            path.append(key)
            value = following()
            value = value.value if is_plain(value) else self.value(value, depth)
            if key in keys:
                line = keys[key].start_mark.line + 1
                self.complain(event, f"defined twice (first at line {line}); keep one of them")
            elif key:
                found[key] = value
                keys[key] = event
            path.pop()
        self.keys = keys  # the top's come last
        return found

    def is_plain(self, event: Any) -> bool:
        """Is it a word that stands for itself? Most are: they are not looked at any closer."""
        if type(event) is not self.scalar or event.anchor or event.tag:
            return False
        return event.value not in SPECIAL_WORDS

    def items(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while type(event := self.next()) not in self.ends:
            self.path.append(len(found))
            found.append(self.value(event, depth))
            self.path.pop()
        return found

    def key(self, event: Any, depth: int) -> str:
        """A key's text; nothing where it was refused."""
        is_scalar = type(event) is self.scalar
        if is_scalar and event.value == "<<" and event.implicit[0]:
            self.refuse(event, "merge keys (<<) are not allowed; put what nodes share into a group")
            return ""
        key = self.value(event, depth)
        if isinstance(key, str) and key:
            return key
        if type(event) is not self.alias:
            self.refuse(
                event,
                f"a key must be a plain word, not {kind(key or EMPTY)}; write `key: value`",
            )
        return ""

    def marked(self, event: Any) -> None:
        if getattr(event, "tag", None):
            self.refuse(
                event,
                f"YAML tags ({shown_value(event.tag)}) are not allowed; write the plain value",
            )
        if event.anchor:
            sign = "*" if type(event) is self.alias else "&"
            name = sign + shown_value(event.anchor)
            hint = "write the value out, or put what nodes share into a group"
            self.refuse(event, f"anchors and aliases are not allowed ({name}); {hint}")

    def refuse(self, event: Any, message: str) -> None:
        """Complain about what makes the rest guesswork; not to the end of a file full of it."""
        self.complain(event, message)
        self.refused += 1
        if self.refused >= MAX_COMPLAINTS:
            raise BadInput(self.source.problems)

    def complain(self, event: Any, message: str) -> None:
        path = tuple(step for step in self.path if step != "")
        where = f"{spell(path)}: " if path else ""
        line, column = _mark(event)
        problems = self.source.problems
        problems.append(Problem(self.source.file, line, column, where + message))
        if len(problems) >= MAX_DOUBLED:
            raise BadInput(problems)


def read_yaml(file: str) -> bytes:
    """The bytes of a regular file of at most 64 MiB; never waits, also not for a FIFO's writer.

    Raises BadInput.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput.at(file, f"cannot read {file}: {why}; name another with site=FILE") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput.at(
                file,
                f"cannot read {file}: not a regular file; name one with site=FILE",
            )
        if status.st_size > MAX_BYTES:
            raise BadInput.at(
                file,
                f"larger than 64 MiB ({status.st_size} bytes); use node ranges and groups",
            )
        with open(fd, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(fd)


def shown_value(value: object) -> str:
    """A value as messages quote it: one short line of ASCII, whatever it holds."""
    text = ascii(str(value))[1:-1]
    text = text.replace("\\'", "'").replace("\\\\", "\\")
    if len(text) > 60:
        text = text[:57] + "..."
    return text if re.fullmatch(r"[!-~]+", text) else f'"{text}"'


def spell(path: Path) -> str:
    """`nodes.wn001.macs[2]`."""
    words = ""
    for step in path:
        words += f"[{step}]" if isinstance(step, int) else "." + shown_value(step)
    return words.removeprefix(".")


def kind(value: object) -> str:
    """What a value is, in an admin's words."""
    return KINDS.get(type(value), "nothing")


KINDS: dict[type, str] = {dict: "a mapping", list: "a list", str: "a string"}


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _mark(marked: Any) -> Place:
    mark = marked.start_mark
    return mark.line + 1, mark.column + 1


def _children(node: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(key or index, the key's node, the value's node)."""
    if node.id == "mapping":
        for key, value in node.value:
            if key.id == "scalar":
                yield key.value, key, value
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield index, None, value


def _check_text(file: str, content: bytes) -> None:
    """Raise BadInput where the bytes are not the plain UTF-8 text that a reviewer sees."""
    for mark, name in MARKS.items():
        if content.startswith(mark):
            raise BadInput.at(
                file,
                f"a byte-order mark is not allowed ({name}); save the file as UTF-8 without one",
            )
    if content.isascii() and not content.translate(None, delete=_SEEN):
        return  # most are that plain
    text = _decoded(file, content)
    problems = []
    for found in islice(re.finditer(UNSEEN, text), MAX_COMPLAINTS):
        line, column = _at(text, found.start())
        problems.append(Problem(file, line, column, _unseen(found.group())))
    for found in islice(re.finditer(TAB_INDENT, text), MAX_COMPLAINTS):
        line, column = _at(text, found.end(1))
        problems.append(Problem(file, line, column, TABS))
    if problems:
        raise BadInput(problems)


def _decoded(file: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        at, byte = error.start, content[error.start]
        line, column = _at(content[:at].decode(), at)
        message = f"not UTF-8 at byte {at} (0x{byte:02x}); save the file as UTF-8"
        raise BadInput.at(file, message, line, column) from None


def _unseen(character: str) -> str:
    what = "control" if character < "\xa0" else "invisible"
    return f"{what} character U+{ord(character):04X}; remove it"


def _at(text: str, offset: int) -> Place:
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    last = before.rfind("\n")
    return before.count("\n") + 1, len(before) - last


def _syntax(file: str, error: Any) -> Problem:
    line, column = 1, 1
    mark = getattr(error, "problem_mark", None)
    if mark:
        line, column = mark.line + 1, mark.column + 1
    what = getattr(error, "problem", None) or error
    context = getattr(error, "context", None)
    if context:
        what = f"{what} ({context})"
    hint = "check quotes, brackets and indentation here and above"
    return Problem(file, line, column, f"not YAML: {what}; {hint}")
