"""What the command line sets: `key=value` variables, the folders that follow from them, and the site they name."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from doit import doit_cmd
from doit.exceptions import InvalidDodoFile

from ..core.base.errors import BadInput, Problem
from ..core.dhcp.servers import BY_WORD, SERVERS
from ..core.site.model import Image, Site

if TYPE_CHECKING:
    import sqlite3


NOTED = ".noted"  # below the build folder: what was found in inputs, private and no output
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclass(frozen=True)
class Settings:
    """Every variable that a command knows, with its default."""

    site: str = "site.yaml"
    build: str = "build"
    destdir: str = ""  # prefixes every deployed path; with it no service is touched
    node: str = ""
    image: str = ""
    release: str = ""
    server: str = ""  # boot servers to ask, as boot1 or boot[2-3]; all
    firmware: str = "bios"
    dhcp: str = SERVERS[0].daemon
    power: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where overlays/ and templates/ are looked up: beside the site file first, then here."""
        beside = os.path.dirname(os.path.abspath(self.site))
        return tuple(dict.fromkeys((beside, REPOSITORY)))

    def path(self, *parts: str) -> str:
        """A path below the build folder."""
        return os.path.join(self.build, *parts)


EVERYWHERE = (
    "site",
    "build",
)  # what every task has a use for; what a command has besides stands where it is declared
CHOICES: dict[str, tuple[str, ...]] = {
    "firmware": ("bios", "uefi"),
    "dhcp": tuple(BY_WORD),
    "power": ("", "keep"),
}


@lru_cache(maxsize=None)
def settings() -> Settings:
    """The variables of this run. Raises InvalidDodoFile for an unknown one or a value that is not a choice."""
    given = on_command_line()
    problems = [_unknown(name) for name in given if name not in Settings.__dataclass_fields__]
    problems += [
        f"{name}={given[name]}: one of {', '.join(filter(None, words))}"
        for name, words in CHOICES.items()
        if name in given and given[name] not in words
    ]
    if problems:
        raise InvalidDodoFile("\n".join(problems))
    if "dhcp" in given:
        given["dhcp"] = BY_WORD[given["dhcp"]].daemon  # one word for one server from here on
    return Settings(**given)


def on_command_line() -> dict[str, str]:
    """The variables as given; doit has get_var() for names that it is asked for, nothing for the others."""
    return dict(doit_cmd._CMDLINE_VARS or {})


def useless(tasks: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each given variable that a task has no use for. `tasks`: name -> the variables it knows besides."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, knows in tasks.items():
        alike.setdefault((*knows, *EVERYWHERE), []).append(name)
    return [
        _useless(word, names, known)
        for word in on_command_line()
        for known, names in alike.items()
        if word not in known
    ]


def _useless(variable: str, names: list[str], known: tuple[str, ...]) -> str:
    have, know = ("has", "it knows") if len(names) == 1 else ("have", "they know")
    words = ", ".join(f"{name}=" for name in known)
    return f"{variable}=: {', '.join(names)} {have} no use for it; {know} {words}"


def _unknown(name: str) -> str:
    import difflib

    known = list(Settings.__dataclass_fields__)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}=?" if near else f"known are {', '.join(known)}"
    return f"{name}=: no such variable; {hint}"


def state() -> str:
    """The file of doit's own state. One that is damaged is removed: everything is looked at anew."""
    import sqlite3

    path = settings().path(".doit.sqlite")
    try:
        with contextlib.closing(sqlite3.connect(path)) as base:
            sound = base.execute("pragma quick_check").fetchall() == [("ok",)] and _holds_json(base)
    except sqlite3.OperationalError as error:  # a folder, no permission, a disk that fails
        raise InvalidDodoFile(
            f"{path}: {error}; remove it, and everything is looked at anew"
        ) from None
    except sqlite3.DatabaseError:
        sound = False
    if not sound:
        sys.stderr.write(f"   {path} was damaged and is made anew\n")
        os.unlink(path)
    return path


def _holds_json(base: sqlite3.Connection) -> bool:
    """Or nothing yet."""
    if not base.execute("select name from sqlite_master where name = 'doit'").fetchall():
        return True
    return not base.execute("select 1 from doit where not json_valid(task_data)").fetchall()


@lru_cache(maxsize=None)
def site() -> Site:
    """The site of this run; every problem of its file at once as InvalidDodoFile, or why there is no build folder."""
    from ..core.site.cache import load_cached

    now = settings()
    try:
        os.makedirs(now.build, exist_ok=True)
    except OSError as error:
        raise InvalidDodoFile(
            f"build={now.build}: {error.strerror}; name a folder to build in"
        ) from None
    try:
        found = load_cached(now.site, now.path(".site-cache"), now.folders)
    except BadInput as error:
        raise InvalidDodoFile(f"\n{error}") from None
    names = [image.name for image in found.images]
    if now.image and now.image not in names:
        raise InvalidDodoFile(
            f"image={now.image}: no such image in {now.site}; it has {', '.join(names)}"
        )
    _look_up("server", now.server, [server.name for server in found.servers])
    return found


def images() -> list[Image]:
    """Those that `image=` names, or all."""
    return [image for image in site().images if settings().image in ("", image.name)]


def _look_up(variable: str, given: str, known: list[str]) -> None:
    """Raises InvalidDodoFile where a variable names what the site has not."""
    if not given or given in known:
        return
    from ..core.base.nodeset import BadRange, expand_nodes, fold_nodes

    try:
        missing = [name for name in expand_nodes(given) if name not in set(known)]
    except BadRange as error:
        raise InvalidDodoFile(f"{variable}={given}: {error}") from None
    if missing:
        raise InvalidDodoFile(
            f"{variable}={given}: {settings().site} has no {fold_nodes(missing)}; it has {fold_nodes(known)}"
        )


KEYS = {  # words of the stages' complaints -> the key of an image that they are about
    "kernel: ": ("kernel",),
    'module "': ("initrd", "modules"),
    "busybox: ": ("initrd", "busybox"),
    "initrd: base: ": ("initrd", "base"),
    " compressed with ": ("initrd", "compression"),
}


@contextlib.contextmanager
def about(image_name: str) -> Iterator[None]:
    """Complaints of a stage that name the site file get the place where that file speaks of the image."""
    from ..core.tree.model import Circle

    try:
        yield
    except Circle as error:
        path = os.path.join(
            site().image(image_name).reference.where or image_name, os.fsdecode(error.path)
        )
        raise BadInput.at(path, "is behind symlinks that lead in a circle; correct them") from None
    except BadInput as error:
        raise BadInput(_placed(image_name, problem) for problem in error.problems) from None


def _placed(image_name: str, problem: Problem) -> Problem:
    from ..core.site.strict_yaml import YamlSource

    if (problem.file, problem.line, problem.column) != (settings().site, 1, 1):
        return problem
    inside: tuple[str, ...] = next(
        (path for words, path in KEYS.items() if words in problem.message), ()
    )
    place = YamlSource(problem.file).place(("images", image_name, *inside), key=True)
    message = problem.message.removeprefix(f"{image_name}: ")
    return Problem(problem.file, *place, f"images.{image_name}: {message}")


def author() -> dict:
    from ..core.store import journal

    return journal.author(os.path.dirname(os.path.abspath(settings().site)))
