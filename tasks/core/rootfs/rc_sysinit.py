"""How a root starts: its init, and the call of setup.sh in a Red Hat `rc.sysinit` (EL4 to EL6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..base.errors import BadInput, Problem
from ..tree.model import DIR, Tree, resolve

HOOK_ANCHOR = b"/sbin/start_udev"  # there are disks from here on, and nothing has used /var yet
HOOK_MARK = b"# plugnode: the node's own disks and name, before anything uses them"
# rc.sysinit read the host name's file at its top, when it hung in the air; it uses the variable
# further down.
HOOK_CALL = (HOOK_MARK, b"/etc/setup.sh", b". /etc/sysconfig/network")

# what a shell does not run, by line: comments, and strings of more than one word
_QUIET = re.compile(
    rb"""(?<![^\s;&|()`])\#[^\n]* | \\\n | \\. | '[^']*' | "(?:\\.|[^"\\])*" """,
    re.VERBOSE | re.DOTALL,
)
_HERE = re.compile(rb"(?<!<)<<(?!<)(-?)[ \t]*([\\'\"]?)(\w+)")
_BETWEEN = re.compile(rb"&&|\|\||[;&|()`\n]")
_BEFORE = re.compile(
    rb"\A(?:if|then|else|elif|while|until|do|time|exec|!|\{|\w+=\S*|\d*[<>]+&?\s*\S+)\Z"
)
_GOES_ON = re.compile(rb"(?:\\|&&|\|\|?)[ \t\r]*\Z")


def hook_script(data: bytes, name: str) -> bytes:
    """The script `data` with a call of setup.sh right after the line that runs /sbin/start_udev.

    Every other byte stays; a script that has the call already is returned as it is. Raises
    BadInput, naming the file `name`, where that line is missing or there are several. EL4's
    `[ -x /sbin/start_udev ] && /sbin/start_udev` is one line; comments, strings and `echo` do not
    count.
    """
    lines = data.splitlines(keepends=True)
    if b"\r" in data:
        lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", data)
    if any(line.strip() == HOOK_MARK for line in lines):
        return data
    at = _anchor(data, name)
    while at < len(lines) and _GOES_ON.search(lines[at - 1].rstrip(b"\r\n")):
        at += 1
    return b"".join([*lines[: at - 1], *_called(lines[at - 1]), *lines[at:]])


def init_of(tree: Tree, cmdline: str = "") -> str:
    """`"sysvinit"` where rc.sysinit runs at boot (SysV init, and EL6's upstart), else `"systemd"`.

    `cmdline`: kernel arguments, of which `init=` may name systemd. Raises BadInput for a root that
    starts neither.
    """
    init = resolve(tree, b"sbin/init")
    if init.endswith(b"/systemd"):
        return "systemd"
    if _has_one_of(tree, _SCRIPTS):
        return "sysvinit"
    if not _has_one_of(tree, _SYSTEMD):
        what = "the reference has neither systemd nor etc/rc.d/rc.sysinit; is it a whole root?"
        raise BadInput.at("sbin/init", what)
    if " init=/" in f" {cmdline}":
        return "systemd"
    found = "is another init" if init in tree else "is missing"
    what = f"{found}, and systemd would never start; add systemd-sysv (EL: systemd)"
    raise BadInput.at("sbin/init", f"{what} to the reference")


_SCRIPTS = (b"etc/rc.d/rc.sysinit", b"etc/rc.sysinit")
_SYSTEMD = (b"usr/lib/systemd/systemd", b"lib/systemd/systemd")


def _has_one_of(tree: Tree, paths: Iterable[bytes]) -> bool:
    return any(resolve(tree, path) in tree for path in paths)


def script_of(tree: Tree) -> bytes:
    """Where the rc.sysinit of a sysvinit root really is: /etc/rc.sysinit is a symlink to it.

    Raises BadInput.
    """
    for path in _SCRIPTS:
        real = resolve(tree, path)
        if real in tree and tree[real].type != DIR:
            return real
    what = "no such file in the reference; setup.sh would never be called"
    raise BadInput.at("etc/rc.d/rc.sysinit", what)


def _anchor(data: bytes, name: str) -> int:
    """The number of the one line that runs the anchor; lines count from 1."""
    running = {line for line, words in _commands(data) if words[:1] == [HOOK_ANCHOR]}
    found = sorted(running)
    if len(found) == 1:
        return found[0]

    line = "line running /sbin/start_udev"
    if not found:
        raise BadInput.at(name, f"no {line} in {name}; the call of setup.sh has to follow it")
    where = f"{len(found)} times (lines {', '.join(map(str, found))})"
    message = f"the {line} is found {where}; setup.sh has to follow one"
    raise BadInput([Problem(name, found[0], 1, message)])


def _called(line: bytes) -> Iterator[bytes]:
    """`line`, and the call after it with the same indent and line ending."""
    text = line.rstrip(b"\r\n")
    end = line[len(text) :]
    indent = text[: len(text) - len(text.lstrip(b" \t"))]
    yield text + (end or b"\n")
    call = (end or b"\n").join(indent + row for row in HOOK_CALL)
    yield call + end


def _commands(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """(line, words) of every simple command: roughly, to tell running a program from naming it."""
    text = _QUIET.sub(_silenced, _without_documents(data))
    start = 0
    while start <= len(text):
        after = _BETWEEN.search(text, start)
        end = after.start() if after else len(text)
        words = text[start:end].replace(b"\0", b" ").split()
        while words and _BEFORE.match(words[0]):
            words.pop(0)
        if words[:1] == [b"action"]:  # action "text" program…
            words = words[2:]
        yield text.count(b"\n", 0, end) + text.count(b"\0", 0, end) + 1, words
        start = after.end() if after else len(text) + 1


def _silenced(match: re.Match[bytes]) -> bytes:
    """Comments are gone, a quoted word stays a word; the count of lines stays (joined, a NUL)."""
    text = match[0]
    joined = b"\0" * text.count(b"\n")
    if text[:1] == b"#" or text == b"\\\n":
        return joined
    inner = text[1:-1]
    plain = text[:1] in b"'\"" and re.fullmatch(rb"[\w./-]+", inner)
    return inner if plain else b"string" + joined


def _without_documents(data: bytes) -> bytes:
    """`data` with the lines of here-documents emptied.

    `<<` of a word that ends nothing is a shift.
    """
    ends: list[tuple[bytes, bool]] = []
    lines = []
    words = set(data.replace(b"\t", b"").replace(b"\r", b"").split(b"\n"))
    for line in data.split(b"\n"):
        if ends:
            word, tabs = ends[0]
            if (line.lstrip(b"\t") if tabs else line).rstrip(b"\r") == word:
                ends.pop(0)
            line = b""
        elif not line.lstrip().startswith(b"#"):
            begun = _HERE.findall(line)
            ends = [(word, dash == b"-") for dash, _, word in begun if word in words]
        lines.append(line)
    return b"\n".join(lines)
