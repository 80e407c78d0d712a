"""What scrubbing does to the bytes of a file that stays: empty, without hashes, without lines."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..tree.model import DIR, FILE, Entry, edited, read_content
from .scrub_rules import ScrubRule

# `x`, `*`, `!!`, `*LK*`: the shortest hash has 13 characters
_NO_HASH = re.compile(rb"[!*]*[A-Za-z]{0,8}[!*]*")
_NO_ACCOUNT = (b"#", b"+", b"-")  # + and -: from NIS, where an empty field means as there
_COMMENT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(?:[#;]|//)[#;\s]*)?")


def scrubbed(rule: ScrubRule, entry: Entry) -> Entry | None:
    """The entry as its rule leaves it; None if it goes."""
    if rule.action == "delete" or (rule.action == "files" and entry.type != DIR):
        return None
    if entry.type != FILE or not entry.size or rule.action == "files":
        return entry
    before = b"" if rule.action == "empty" else read_content(entry)
    after = EDITS[rule.action](before, rule)
    if after == before and entry.size == len(after):
        return entry
    return _unlabelled(edited(entry, after))


def has_secret(rule: ScrubRule, entry: Entry) -> bool:
    """Whether an edit of a file by its rule would change it."""
    before = read_content(entry)
    return EDITS[rule.action](before, rule) != before


def _unlabelled(entry: Entry) -> Entry:
    """Without `user.` attributes: what is noted beside bytes that go may be as secret as they."""
    left = tuple(each for each in entry.xattrs if not each[0].startswith("user."))
    return entry._replace(xattrs=left)


def locked_hashes(data: bytes, empty_is_open: bool) -> bytes:
    """A file like /etc/shadow without a usable password.

    Hashes are `*`, or as many `!` as they began with. `empty_is_open`: an empty field lets anybody
    in, and becomes `*` too (passwd and shadow, not group and gshadow).
    """
    return b"".join(_locked_line(line, empty_is_open) for line in data.splitlines(keepends=True))


def _locked_line(line: bytes, empty_is_open: bool) -> bytes:
    name, colon, rest = line.partition(b":")
    field, end, more = rest.partition(b":")
    if not end or not name or name.startswith(_NO_ACCOUNT):
        return line
    if _NO_HASH.fullmatch(field) and (field or not empty_is_open):
        return line
    bangs = field[: len(field) - len(field.lstrip(b"!"))]
    return name + colon + (bangs or b"*") + end + more


def _empty(data: bytes, rule: ScrubRule) -> bytes:
    return b""


def _lock(data: bytes, rule: ScrubRule) -> bytes:
    return locked_hashes(data, not rule.pattern.endswith(("group", "gshadow")))


def _without_lines(data: bytes, rule: ScrubRule) -> bytes:
    """Without the lines that the rule names, and those that continue one.

    A line goes on by a backslash, or by a deeper indent.
    """
    named = re.compile(rule.lines.encode(), re.IGNORECASE)
    left, gone = [], b""  # gone: the line that went last, as long as others continue it
    for line in data.splitlines(keepends=True):
        comment = _COMMENT.match(line)
        if gone and _continues(gone, line):
            gone = line if _is_open(gone) else gone
        elif named.match(line, comment.end() if comment else 0):
            gone = line
        else:
            left.append(line)
            gone = b""
    return b"".join(left)


def _continues(above: bytes, line: bytes) -> bool:
    return _is_open(above) or (bool(line.strip()) and _indent(line) > _indent(above))


def _is_open(line: bytes) -> bool:
    return line.rstrip().endswith(b"\\")


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))


EDITS: dict[str, Callable[[bytes, ScrubRule], bytes]] = {
    "empty": _empty,
    "lock": _lock,
    "lines": _without_lines,
}
