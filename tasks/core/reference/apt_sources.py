"""Apt's sources of a bootstrap: where its packages are fetched, and what the root itself says.

They are fetched where this machine fetches those of that suite, if it does: from a mirror nearby,
by a key that is known here. The root says what the site says, or else the distribution's own
servers: by the same site two machines make the same root.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.files import write_atomic
from ..site.model import Reference

SOURCES = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*.list",
    "/etc/apt/sources.list.d/*.sources",
)


class Distribution(NamedTuple):
    """One whose suites are known."""

    suites: tuple[str, ...]  # with updates, and security beside
    rolling: tuple[str, ...]  # without
    archive: str
    security: str
    keyring: str


DISTRIBUTIONS = (
    Distribution(
        ("bullseye", "bookworm", "trixie", "forky", "duke", "oldstable", "stable", "testing"),
        ("sid", "unstable"),
        "http://deb.ab.example/debian",
        "http://security.ab.example/debian-security",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
    ),
    Distribution(
        ("jammy", "noble", "questing", "resolute"),
        (),
        "http://archive.cd.example/ubuntu",
        "http://security.cd.example/ubuntu",
        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    ),
)


def fetched_from(wanted: str, patterns: Iterable[str] = SOURCES) -> str:
    """Lines of apt's by which packages of a suite are fetched here; "" where nobody knows it.

    `patterns`: this machine's own files of sources.
    """
    own = own_sources(wanted, *patterns)
    distribution = _distribution_of(wanted)
    if distribution is None:
        return own
    keyring = distribution.keyring
    signed = f"[signed-by={keyring}] " if os.path.exists(keyring) else ""
    lines = own.splitlines()
    for uri, suite in _archives(distribution, wanted):
        if not any(f" {suite} " in line for line in lines):
            lines.append(f"deb {signed}{uri} {suite} main")
    return "".join(f"{line}\n" for line in lines)


def say_in_root(tree: str, reference: Reference) -> None:
    """Write the sources of the root, in place of those that it was made by."""
    said = _said(reference)
    if not said:
        return
    folder = os.path.join(tree, "etc/apt")
    if os.path.isdir(folder) and not os.path.islink(folder):
        for path in glob.glob(os.path.join(glob.escape(folder), "sources.list.d/0*")):
            os.unlink(path)  # as mmdebstrap names them
        write_atomic(os.path.join(folder, "sources.list"), said.encode())


def _said(reference: Reference) -> str:
    """What the site says of them, and nothing of this machine's."""
    suite = reference.suite
    if reference.mirror:
        return f"deb {reference.mirror} {suite} main\n"
    distribution = _distribution_of(suite)
    archives = _archives(distribution, suite) if distribution else ()
    return "".join(f"deb {uri} {name} main\n" for uri, name in archives)


def _distribution_of(suite: str) -> Distribution | None:
    known = (each for each in DISTRIBUTIONS if suite in (*each.suites, *each.rolling))
    return next(known, None)


def _archives(distribution: Distribution, suite: str) -> Iterator[tuple[str, str]]:
    """Address and suite of each archive that belongs to a suite."""
    yield distribution.archive, suite
    if suite in distribution.suites:
        yield distribution.archive, f"{suite}-updates"
        yield distribution.security, f"{suite}-security"


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
