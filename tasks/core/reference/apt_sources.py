"""Apt's sources of a bootstrap: where its packages are fetched, and what the root itself says.

They are fetched where this machine fetches those of that suite, if it does: from a mirror nearby,
by a key that is known here. The root says what the site says, or else what its own apt has as an
example, the distribution's servers: by the same site two machines make the same root.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator

from ..base.files import read, write_atomic
from ..site.model import Reference

SOURCES = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*.list",
    "/etc/apt/sources.list.d/*.sources",
)
EXAMPLES = "usr/share/doc/apt/examples"  # of the package apt: sources.list, or debian.sources


def say_in_root(tree: str, reference: Reference) -> None:
    """Write the sources of the root, in place of those that it was made by."""
    folder = os.path.join(tree, "etc/apt")
    if not os.path.isdir(folder) or os.path.islink(folder):
        return
    for path in glob.glob(os.path.join(glob.escape(folder), "sources.list.d/0*")):
        os.unlink(path)  # as mmdebstrap names them
    for name, data in _said(tree, reference).items():
        write_atomic(os.path.join(folder, name), data)


def _said(tree: str, reference: Reference) -> dict[str, bytes]:
    """The files of /etc/apt that say it, without a word of this machine's."""
    if reference.mirror:
        return {"sources.list": f"deb {reference.mirror} {reference.suite} main\n".encode()}
    said = {"sources.list": b""}
    examples = os.path.join(glob.escape(tree), EXAMPLES)
    for path in glob.glob(os.path.join(examples, "sources.list")):
        said["sources.list"] = read(path)
    for path in glob.glob(os.path.join(examples, "*.sources")):
        said[f"sources.list.d/{os.path.basename(path)}"] = read(path)
    return said


def own_sources(suite: str, *patterns: str) -> str:
    """This machine's apt sources of the suite, its updates and security; "" where it has none."""
    suites = {suite, f"{suite}-updates", f"{suite}-security"}
    lines: list[str] = []
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            lines += _sources_in(path, suites)
    if not any(f" {suite} " in line for line in lines):
        return ""
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def _sources_in(path: str, suites: set[str]) -> Iterable[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    return _stanzas(text, suites) if path.endswith(".sources") else _lines(text, suites)


def _lines(text: str, suites: set[str]) -> Iterator[str]:
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", "", line).split()
        if words[:1] == ["deb"] and len(words) > 3 and words[2] in suites:
            yield line.strip()


def _stanzas(text: str, suites: set[str]) -> Iterator[str]:
    """deb822 stanzas as lines of the older form, which can be put after one another."""
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields = _fields(stanza)
        signed = fields.get("signed-by", [])
        is_off = fields.get("enabled") == ["no"]
        if "deb" not in fields.get("types", []) or is_off or len(signed) > 1:
            continue

        option = f"[signed-by={signed[0]}] " if signed else ""
        components = " ".join(fields.get("components", []))
        for name in fields.get("suites", []):
            for uri in fields.get("uris", []) if name in suites else ():
                yield f"deb {option}{uri} {name} {components}"


def _fields(stanza: str) -> dict[str, list[str]]:
    """The words of each field, which may go on in lines that are indented."""
    found = re.findall(r"(?m)^(\S+):[ \t]*(.*(?:\n[ \t].*)*)", stanza)
    return {name.lower(): value.split() for name, value in found}
