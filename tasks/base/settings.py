"""What the command line sets: `key=value` variables, the folders and the site that follow.

Tasks are made of it, and hand what they need of it to their actions as a value: a rule its paths,
a command its Run. No action asks for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from doit import doit_cmd
from doit.exceptions import InvalidDodoFile

from ..core.base.errors import BadInput
from ..core.base.files import REPOSITORY
from ..core.dhcp.servers import BY_WORD, SERVERS
from ..core.site.model import Image, Node, Site
from .paths import BuildPaths

if TYPE_CHECKING:
    import sqlite3


class Settings(NamedTuple):
    """Every variable that a command knows, with its default."""

    site: str = "site.yaml"
    build: str = "build"
    destdir: str = ""  # prefixes every deployed path; with it no service is touched
    node: str = ""
    image: str = ""
    release: str = ""
    server: str = ""  # boot servers to ask, as boot1 or boot[2-3]; all
    firmware: str = ""  # that which nodes of this processor usually have
    dhcp: str = SERVERS[0].daemon
    power: str = ""
    key: str = ""  # a private key, to sign with

    @property
    def paths(self) -> BuildPaths:
        """Where all is: overlays/ and templates/ beside the site file first, then here."""
        beside = os.path.dirname(os.path.abspath(self.site))
        return BuildPaths(self.build, self.site, tuple(dict.fromkeys((beside, REPOSITORY))))


EVERYWHERE = ("site", "build")  # what every task has a use for; a command says what it has besides
CHOICES: dict[str, tuple[str, ...]] = {
    "firmware": ("bios", "uefi", "secure"),
    "dhcp": tuple(BY_WORD),
    "power": ("keep",),
}
WHICH = ("node", "server", "image", "release")
MAY_BE_EMPTY = ("destdir",)  # of any other an empty word would mean all: a script's unset variable


@lru_cache(maxsize=None)
def settings() -> Settings:
    """The variables of this run.

    Raises InvalidDodoFile for an unknown one, and for a value that is empty or not a choice.
    """
    given = on_command_line()
    problems = [_unknown(name) for name in given if name not in Settings._fields]
    problems += _given_twice()
    for name in Settings._fields:
        if given.get(name) == "" and name not in MAY_BE_EMPTY:
            problems.append(f"{name}=: nothing is named; name what is meant, or leave it out")
    for name, words in CHOICES.items():
        if given.get(name) and given[name] not in words:
            problems.append(f"{name}={given[name]}: one of {', '.join(words)}")
    if problems:
        raise InvalidDodoFile("\n".join(problems))
    if "dhcp" in given:
        given["dhcp"] = BY_WORD[given["dhcp"]].daemon  # one word for one server from here on
    return Settings(**given)


def on_command_line() -> dict[str, str]:
    """The variables as given: of doit's get_var() one must know the names."""
    return dict(doit_cmd._CMDLINE_VARS or {})


def _given_twice() -> list[str]:
    """A line for each variable that says which, and says it twice: doit takes the last.

    Of a place that is right: a script of the site's own gives one, and who calls it another.
    """
    given: dict[str, dict[str, None]] = {}
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name != word and name in WHICH:
            given.setdefault(name, {})[value] = None
    lines = []
    for name, values in given.items():
        if len(values) > 1:
            words = " ".join(f"{name}={value}" for value in values)
            both = f"{name}={','.join(values)}" if name in ("node", "server") else "one of them"
            lines.append(f"{words}: one would be ignored; write {both}")
    return lines


def names_a_task() -> bool:
    """Whether the command line has a word besides variables and options."""
    return any("=" not in word and word[0] != "-" for word in filter(None, sys.argv[1:]))


def take_besides(words: Iterable[str]) -> None:
    """Take variables of a command line that is only typed for those of this one."""
    pairs = (word.partition("=") for word in words if "=" in word and word[0] != "-")
    doit_cmd._CMDLINE_VARS.update({name: value for name, _, value in pairs})


def useless(tasks: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each given variable that a task has no use for.

    `tasks`: name -> the variables that it knows besides those of every task.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, knows in tasks.items():
        alike.setdefault((*knows, *EVERYWHERE), []).append(name)
    lines = []
    for word, known in product(on_command_line(), alike):
        if word not in known:
            lines.append(_useless(word, alike[known], known))
    return lines


def _useless(variable: str, names: list[str], known: tuple[str, ...]) -> str:
    have, know = ("has", "it knows") if len(names) == 1 else ("have", "they know")
    words = ", ".join(f"{name}=" for name in known)
    return f"{variable}=: {', '.join(names)} {have} no use for it; {know} {words}"


def _unknown(name: str) -> str:
    import difflib

    known = list(Settings._fields)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}=?" if near else f"known are {', '.join(known)}"
    return f"{name}=: no such variable; {hint}"


def state() -> str:
    """The file of doit's state. One that is damaged is removed: everything is looked at anew."""
    import sqlite3

    path = build_paths().path(".doit.sqlite")
    try:
        with contextlib.closing(sqlite3.connect(path)) as base:
            checked = base.execute("pragma quick_check").fetchall()
            sound = checked == [("ok",)] and _holds_json(base)
    except sqlite3.OperationalError as error:  # a folder, no permission, a disk that fails
        raise InvalidDodoFile(
            f"{path}: {error}; remove it, and everything is looked at anew"
        ) from None
    except sqlite3.DatabaseError:
        sound = False
    if not sound:
        try:
            os.unlink(path)
        except OSError as error:
            raise InvalidDodoFile(no_folder(error)) from None
        sys.stderr.write(f"   {path} was damaged and is made anew\n")
    _say_where_it_cannot_be_saved(path)
    return path


def _say_where_it_cannot_be_saved(path: str) -> None:
    """Have doit end in one line there, with exit status 2: on a full disk, one that fails.

    That a task failed is not noted there either, as where a run is killed: add_failure says it.
    """
    import sqlite3

    from doit.dependency import SqliteDB

    save, remove = SqliteDB.dump, SqliteDB.remove

    def dump(base: SqliteDB) -> None:
        try:
            save(base)
        except sqlite3.OperationalError as error:
            sys.stdout.flush()
            sys.stderr.write(f"ERROR: {path}: {error}; the next run does this one's work again\n")
            raise SystemExit(2) from None

    def remove_noted(base: SqliteDB, task: str) -> None:
        with contextlib.suppress(sqlite3.OperationalError):
            remove(base, task)

    SqliteDB.dump, SqliteDB.remove = dump, remove_noted


def _holds_json(base: sqlite3.Connection) -> bool:
    """Or nothing yet."""
    if not base.execute("select name from sqlite_master where name = 'doit'").fetchall():
        base.execute("begin")  # and taken back: doit makes it, and cannot say why it could not
        base.execute("create table doit (task_id)")
        return True
    return not base.execute("select 1 from doit where not json_valid(task_data)").fetchall()


@lru_cache(maxsize=None)
def site() -> Site:
    """The site of this run.

    Raises InvalidDodoFile with every problem of its file at once, or why there is no build folder.
    """
    from ..core.site.cache import load_cached

    now = settings()
    try:
        os.makedirs(now.build, exist_ok=True)
        found = load_cached(now.site, now.paths.path(".site-cache"), now.paths.folders)
    except BadInput as error:
        raise InvalidDodoFile(f"\n{error}") from None
    except OSError as error:
        raise InvalidDodoFile(no_folder(error)) from None
    names = [image.name for image in found.images]
    if now.image and now.image not in names:
        raise InvalidDodoFile(
            f"image={now.image}: no such image in {now.site}; it has {', '.join(names)}"
        )
    _look_up("server", now.server, [server.name for server in found.servers])
    return found


def no_folder(error: OSError) -> str:
    """Why nothing can be built where this run was told to."""
    return f"build={settings().build}: {error.strerror}; name a folder to build in"


def build_paths() -> BuildPaths:
    """The paths of this run."""
    return settings().paths


class Run(NamedTuple):
    """What a command works with."""

    settings: Settings
    site: Site

    @property
    def paths(self) -> BuildPaths:
        return self.settings.paths

    @property
    def images(self) -> list[Image]:
        """Those that `image=` names, or all."""
        return [image for image in self.site.images if self.settings.image in ("", image.name)]

    @property
    def nodes(self) -> list[Node]:
        """Those that `node=` names, or all. Raises BadInput."""
        if not self.settings.node:
            return list(self.site.nodes)
        return _named_nodes(self.site, self.settings)

    def author(self) -> dict:
        """Who does it, and at which commit of the site, for the journal."""
        from ..core.store import journal

        folder = _beside(self.settings.site)
        return journal.author(folder, _commit(folder))

    def revision(self) -> dict:
        """The site's commit, as `journal.revision` gives it."""
        from ..core.store import journal

        folder = _beside(self.settings.site)
        return journal.revision(folder, _commit(folder))


def _named_nodes(site: Site, given: Settings) -> list[Node]:
    """The nodes that `node=` names, in the site's order. Raises BadInput."""
    from ..core.base.nodeset import BadRange, select

    every = {node.name: node for node in site.nodes}
    try:
        wanted = set(select(given.node, every, _groups(site)))
    except BadRange as error:
        raise BadInput.at(given.site, f"node={given.node}: {error}") from None
    if missing := wanted - every.keys():
        wrong = _no_such_node(given.node, sorted(missing), every)
        raise BadInput.at(given.site, f"node={given.node}: {wrong}")
    return [node for name, node in every.items() if name in wanted]


def _groups(site: Site) -> dict[str, list[str]]:
    """The nodes of each group that has some."""
    found: dict[str, list[str]] = {}
    for node in site.nodes:
        for name in node.groups:
            found.setdefault(name, []).append(node.name)
    return found


def _no_such_node(asked: str, missing: list[str], known: Iterable[str]) -> str:
    """That the site has no such nodes as `node=` names; of one, which was likely meant."""
    import difflib

    from ..core.base.nodeset import fold_nodes

    names = fold_nodes(missing)
    near = difflib.get_close_matches(missing[0], known, 1) if len(missing) == 1 else []
    hint = f"did you mean {near[0]}?" if near else "name those of `nodes:`"
    return f"{'' if names == asked else f'{names}: '}no such node; {hint}"


def _beside(site_file: str) -> str:
    return os.path.dirname(os.path.abspath(site_file))


@lru_cache(maxsize=None)
def _commit(folder: str) -> dict:
    from ..core.store import journal

    return journal.commit(folder)


def this_run() -> Run:
    """This run, for its commands."""
    return Run(settings(), site())


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
        lacks = f"{settings().site} has no {fold_nodes(missing)}"
        raise InvalidDodoFile(f"{variable}={given}: {lacks}; it has {fold_nodes(known)}")
