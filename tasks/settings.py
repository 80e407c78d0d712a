"""What the command line sets: `key=value` variables, the folders that follow from them, and the site they name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from doit import doit_cmd
from doit.exceptions import InvalidDodoFile

from .core.errors import BadInput
from .core.site import Site

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass(frozen=True)
class Settings:
    """Every variable that a command knows, with its default."""

    site: str = "site.yaml"
    build: str = "build"
    destdir: str = ""  # prefixes every deployed path; with it no service is touched
    node: str = ""
    image: str = ""
    release: str = ""
    firmware: str = "bios"
    dhcp: str = "dhcpd"
    power: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where overlays/ and templates/ are looked up: beside the site file first, then here."""
        beside = os.path.dirname(os.path.abspath(self.site))
        return tuple(dict.fromkeys((beside, REPOSITORY)))

    def path(self, *parts: str) -> str:
        """A path below the build folder."""
        return os.path.join(self.build, *parts)


CHOICES = {"firmware": ("bios", "uefi"), "dhcp": ("dhcpd", "kea", "dnsmasq"), "power": ("", "keep")}


@lru_cache(maxsize=None)
def settings() -> Settings:
    """The variables of this run. Raises InvalidDodoFile for an unknown one or a value that is not a choice."""
    given = dict(doit_cmd._CMDLINE_VARS or {})  # doit has get_var() for names it is asked for, nothing for the others
    problems = [_unknown(name) for name in given if name not in Settings.__dataclass_fields__]
    problems += [
        f"{name}={given[name]}: one of {', '.join(filter(None, words))}"
        for name, words in CHOICES.items()
        if name in given and given[name] not in words
    ]
    if problems:
        raise InvalidDodoFile("\n".join(problems))
    return Settings(**given)


def _unknown(name: str) -> str:
    import difflib

    known = list(Settings.__dataclass_fields__)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}=?" if near else f"known are {', '.join(known)}"
    return f"{name}=: no such variable; {hint}"


@lru_cache(maxsize=None)
def site() -> Site:
    """The site of this run; every problem of its file at once as InvalidDodoFile."""
    from .core.site_cache import load_cached

    now = settings()
    os.makedirs(now.build, exist_ok=True)
    try:
        return load_cached(now.site, now.path(".site-cache"), now.folders)
    except BadInput as error:
        raise InvalidDodoFile(f"\n{error}") from None
