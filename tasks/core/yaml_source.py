"""A YAML file read strictly: every scalar stays the text that was written, and what hides surprises is refused.

No anchors, aliases, tags, merge keys, duplicate keys, second documents. Values are str, list, dict or EMPTY (nothing,
`~` or `null`). Positions are for messages only: they are looked up in a second pass, when something is wrong.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import cached_property
from itertools import islice
from typing import Any

from .errors import BadInput, Problem

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
EMPTY_WORDS = frozenset(("", "~", "null", "Null", "NULL"))
SPECIAL_WORDS = EMPTY_WORDS | {"<<"}

# Control characters, zero-width and bidirectional ones (they show a reviewer another text than the machine reads),
# other line separators, byte-order marks inside the text, non-characters.
UNSEEN = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
TABS = "tab character in the indentation; indent with spaces"
TAB_INDENT = r"(?m)^( *)\t[ \t]*(?=[^\s#])"
MARKS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\0\0\xfe\xff", "UTF-32"))


class Source:
    """One file: `data` is what it says (a dict), `problems` what was wrong with its keys. Raises BadInput at once
    where reading further would be guessing (syntax, aliases, tags…)."""

    def __init__(self, file: str, content: bytes | None = None):
        self.file = file  # as the user wrote it
        self.content = read(file) if content is None else content
        self.problems: list[Problem] = []
        _check_text(file, self.content)
        self.data = self._parse()

    def problem(self, path: Path, message: str, key: bool = False) -> Problem:
        """A problem with the value at `path` (or with its key), naming where in words: `nodes.wn001.mac: …`."""
        line, column = self.place(path, key)
        return Problem(self.file, line, column, f"{spell(path)}: {message}" if path else message)

    def place(self, path: Path, key: bool = False) -> tuple[int, int]:
        """Line and column of the value (or key) at `path`; of the closest parent's key where there is none."""
        if path in self._places:
            return self._places[path][0 if key else 1]
        while path and path not in self._places:
            path = path[:-1]
        return self._places[path][0] if path else (1, 1)

    @cached_property
    def _places(self) -> dict[Path, tuple[tuple[int, int], tuple[int, int]]]:
        import yaml

        places: dict[Path, tuple[tuple[int, int], tuple[int, int]]] = {}
        pending: list[tuple[Path, Any, Any]] = [((), None, yaml.compose(self.content, Loader=_loader()))]
        while pending:  # the last first: of doubled keys the first one's place stays, as does its value
            path, key, node = pending.pop()
            place = _mark(node)
            places[path] = (_mark(key) if key else place, place)
            pending += [((*path, name), at, value) for name, at, value in _children(node)]
        return places

    def _parse(self) -> dict[str, Any]:
        import yaml

        try:
            return _Parser(self).document()
        except yaml.YAMLError as error:
            raise BadInput([*self.problems, _syntax(self.file, error)]) from None


class _Parser:
    """Builds values from libyaml's events. What is refused is noted with its place, and reading goes on."""

    def __init__(self, source: Source):
        import yaml

        self.source, self.refused, self.path = source, 0, []  # type: Source, int, list[Any]
        self.next: Callable[[], Any] = _loader()(source.content).get_event
        self.scalar, self.mapping, self.alias = (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.AliasEvent)
        self.ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        self.document_start = yaml.DocumentStartEvent

    def document(self) -> dict[str, Any]:
        self.next()
        start = self.next()
        first = self.next() if type(start) is self.document_start else start
        data = self.value(first, 1) if first is not start else EMPTY
        if data is EMPTY and not self.refused:
            raise BadInput.at(self.source.file, "the file is empty; docs/site.md has an example to begin with")
        if not isinstance(data, dict):
            self.refuse(first, f"the top level must be a mapping, not {kind(data)}; begin with `site: NAME`")
        self.next()
        after = self.next()
        if type(after) is self.document_start:
            self.refuse(after, "more than one document; a site is one document, without `---` inside")
        if self.refused:
            raise BadInput(self.source.problems)
        return data  # type: ignore[return-value]

    def value(self, event: Any, depth: int) -> Any:
        what = type(event)
        if what is self.alias or event.anchor or event.tag:
            self.marked(event)
        if what is self.scalar:
            text = event.value
            return EMPTY if text in EMPTY_WORDS and event.implicit[0] else text
        if what is self.alias:
            return EMPTY
        if depth > MAX_DEPTH:
            self.path = self.path[:2]
            self.refuse(event, f"nested deeper than {MAX_DEPTH}; a site needs no more than eight levels")
            raise BadInput(self.source.problems)
        return self.pairs(depth + 1) if what is self.mapping else self.items(depth + 1)

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
        return found

    def is_plain(self, event: Any) -> bool:
        """Is it a word that stands for itself? Most are: they are not looked at any closer."""
        return type(event) is self.scalar and not (event.anchor or event.tag or event.value in SPECIAL_WORDS)

    def items(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while type(event := self.next()) not in self.ends:
            self.path.append(len(found))
            found.append(self.value(event, depth))
            self.path.pop()
        return found

    def key(self, event: Any, depth: int) -> str:
        """A key's text; nothing where it was refused."""
        if type(event) is self.scalar and event.value == "<<" and event.implicit[0]:
            self.refuse(event, "merge keys (<<) are not allowed; put what nodes share into a group")
            return ""
        key = self.value(event, depth)
        if isinstance(key, str) and key:
            return key
        if type(event) is not self.alias:
            self.refuse(event, f"a key must be a plain word, not {kind(key or EMPTY)}; write `key: value`")
        return ""

    def marked(self, event: Any) -> None:
        if getattr(event, "tag", None):
            self.refuse(event, f"YAML tags ({shown(event.tag)}) are not allowed; write the plain value")
        if event.anchor:
            name = ("*" if type(event) is self.alias else "&") + shown(event.anchor)
            do = "write the value out, or put what nodes share into a group"
            self.refuse(event, f"anchors and aliases are not allowed ({name}); {do}")

    def refuse(self, event: Any, message: str) -> None:
        """Complain about what makes the rest guesswork; a file full of it is not read to its end."""
        self.complain(event, message)
        self.refused += 1
        if self.refused >= MAX_COMPLAINTS:
            raise BadInput(self.source.problems)

    def complain(self, event: Any, message: str) -> None:
        where = spell(tuple(step for step in self.path if step != ""))
        message = f"{where}: {message}" if where else message
        self.source.problems.append(Problem(self.source.file, *_mark(event), message))
        if len(self.source.problems) >= MAX_DOUBLED:
            raise BadInput(self.source.problems)


def read(file: str) -> bytes:
    """The bytes of a regular file of at most 64 MiB. Raises BadInput; never waits, also not for a FIFO's writer."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput.at(file, f"cannot read {file}: {why}; name another with site=FILE") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput.at(file, f"cannot read {file}: not a regular file; name one with site=FILE")
        if status.st_size > MAX_BYTES:
            raise BadInput.at(file, f"larger than 64 MiB ({status.st_size} bytes); use node ranges and groups")
        with open(fd, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(fd)


def shown(value: object) -> str:
    """A value as messages quote it: one short line of ASCII, whatever it holds."""
    text = ascii(str(value))[1:-1].replace("\\'", "'").replace("\\\\", "\\")
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if re.fullmatch(r"[!-~]+", text) else f'"{text}"'


def spell(path: Path) -> str:
    """`nodes.wn001.macs[2]`."""
    words = (f"[{step}]" if isinstance(step, int) else "." + shown(step) for step in path)
    return "".join(words).removeprefix(".")


def kind(value: object) -> str:
    """What a value is, in an admin's words."""
    names: dict[type, str] = {dict: "a mapping", list: "a list", str: "a string"}
    return names.get(type(value), "nothing")


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _mark(marked: Any) -> tuple[int, int]:
    return marked.start_mark.line + 1, marked.start_mark.column + 1


def _children(node: Any) -> list[tuple[Any, Any, Any]]:
    """(key or index, the key's node, the value's node)."""
    if node.id == "mapping":
        return [(key.value, key, value) for key, value in node.value if key.id == "scalar"]
    return [(index, None, value) for index, value in enumerate(node.value)] if node.id == "sequence" else []


def _check_text(file: str, content: bytes) -> None:
    """Raise BadInput where the bytes are not the plain UTF-8 text that a reviewer sees."""
    for mark, name in MARKS:
        if content.startswith(mark):
            raise BadInput.at(file, f"a byte-order mark is not allowed ({name}); save the file as UTF-8 without one")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line, column = _at(content[: error.start].decode(), error.start)
        message = f"not UTF-8 at byte {error.start} (0x{content[error.start]:02x}); save the file as UTF-8"
        raise BadInput.at(file, message, line, column) from None
    bad = [(found.start(), _unseen(found.group())) for found in islice(re.finditer(UNSEEN, text), MAX_COMPLAINTS)]
    bad += [(found.end(1), TABS) for found in islice(re.finditer(TAB_INDENT, text), MAX_COMPLAINTS)]
    if bad:
        raise BadInput(Problem(file, *_at(text, offset), message) for offset, message in bad)


def _unseen(character: str) -> str:
    what = "control" if character < "\xa0" else "invisible"
    return f"{what} character U+{ord(character):04X}; remove it"


def _at(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax(file: str, error: Any) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    context = f" ({error.context})" if getattr(error, "context", None) else ""
    what = getattr(error, "problem", None) or error
    return Problem(
        file, line, column, f"not YAML: {what}{context}; check quotes, brackets and indentation here and above"
    )
