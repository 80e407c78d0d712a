"""Completion in the shell: the script that asks for words, and the words.

A shell asks `doit completion --line=TEXT`, TEXT being what is typed up to the cursor. That is
answered before anything else: no lock is taken, and a site that is wrong completes less.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from doit.exceptions import InvalidDodoFile

from .base.rule import command
from .base.settings import CHOICES, EVERYWHERE, settings, site, take_besides, this_run
from .core.site.model import Image, Server
from .usage import before_words, known, spelled, variables_of, words_of

LINE = "--line="
SCRIPT = r"""# Completion of doit, for bash and zsh: source <(./doit completion)
if [ -n "${ZSH_VERSION-}" ]; then
    autoload -U +X compinit && compinit
    autoload -U +X bashcompinit && bashcompinit
fi
_plugnode() {
    local typed=${COMP_LINE:0:$COMP_POINT} word rest
    local doit=${typed%%[[:blank:]]*} last=${typed##*[[:blank:]]}
    # bash puts a word in the place of what stands behind the last of its word breaks
    rest=$last
    if [ -n "${BASH_VERSION-}" ]; then
        case $COMP_WORDBREAKS in *=*) rest=${rest#*=} ;; esac
    fi
    COMPREPLY=()
    while IFS= read -r word; do
        case $word in "$last"*) COMPREPLY+=("${word:$((${#last} - ${#rest}))}") ;; esac
    done < <("$doit" completion "--line=$typed" 2>/dev/null)
    case ${#COMPREPLY[@]}${COMPREPLY[*]-} in 1*=|1*/) compopt -o nospace 2>/dev/null ;; esac
}
complete -F _plugnode doit ./doit
"""

ASKED = {
    "name": "line",
    "long": "line",
    "type": str,
    "default": "",
    "help": "words for what is typed, as that script asks for them",
}
Tasks = Mapping[str, Any]  # of dodo.py, by the names of their functions


def task_completion() -> dict[str, Any]:
    """print the completion of doit for bash and zsh: `source <(./doit completion)`"""
    return command(show_script, params=[ASKED])


def show_script(line: str) -> None:
    print(SCRIPT, end="")


def complete(tasks: Tasks) -> None:
    """Where a shell asks for words, print them and end."""
    asked = [word for word in sys.argv[2:] if word.startswith(LINE)]
    if sys.argv[1:2] == ["completion"] and asked:
        print(*words(asked[0].removeprefix(LINE), tasks), sep="\n")
        sys.exit(0)


def words(typed: str, tasks: Tasks) -> list[str]:
    """What the last word of what is typed can become."""
    *before, last = typed.split(" ")
    take_besides(before)
    at = [number for number, word in enumerate(before) if f"task_{word}" in tasks]
    given = [before[number] for number in before_words(before, at, tasks)]
    more = words_of(tasks[f"task_{given[-1]}"]) if given else ()
    if last.startswith("-"):
        found = options(given, tasks, last)
    elif "=" in last:
        variable, _, value = last.partition("=")
        found = (f"{variable}={each}" for each in values(variable, value))
    elif more and given[-1] == before[-1]:
        found = iter(more)
    else:
        found = chain(() if more else commands(tasks), variables(given, tasks))
    return sorted(word for word in set(found) if word.startswith(last))


def commands(tasks: Tasks) -> Iterator[str]:
    for name, make in tasks.items():
        if name.startswith("task_") and callable(make):
            yield name.removeprefix("task_")


def variables(given: Iterable[str], tasks: Tasks) -> Iterator[str]:
    """Those that each of the commands has a use for."""
    words = set(settings()._fields) if given else set(EVERYWHERE)
    for name in given:
        words.intersection_update(variables_of(tasks[f"task_{name}"]))
    return (f"{word}=" for word in words)


def options(given: list[str], tasks: Tasks, last: str) -> Iterator[str]:
    """Those of the last command; of `--plan=` the plans that were shown."""
    if last.startswith("--plan="):
        plans = glob.glob(settings().paths.path(".plans", "*"))
        return (f"--plan={os.path.basename(path)}" for path in plans)
    rows = known(tasks[f"task_{given[-1]}"]) if given else []
    return chain(["--help"], chain.from_iterable(map(_spelled, rows)))


def _spelled(option: Mapping[str, Any]) -> list[str]:
    """An option as it is typed: with a `=` where a value follows."""
    value = "" if option.get("type") is bool else "="
    return [f"{word}{value}" for word in spelled(option) if word.startswith("--")]


def values(variable: str, value: str) -> Iterable[str]:
    """What a variable can be, of which `value` is typed."""
    if variable in CHOICES:
        return CHOICES[variable]
    if variable in PATHS:
        return paths(value, PATHS[variable])
    try:
        return NAMES[variable](value) if variable in NAMES else ()
    except InvalidDodoFile:  # of a site that is wrong nothing is known
        return ()


def paths(value: str, ends: str) -> Iterator[str]:
    """Folders, and files whose names end so."""
    for path in glob.iglob(glob.escape(value) + "*"):
        if os.path.isdir(path):
            yield f"{path}/"
        elif ends and path.endswith(ends):
            yield path


def node_names(value: str) -> Iterator[str]:
    """Of the last of several sets of nodes: nodes and groups."""
    cut = 1 + max(value.rfind(sign) for sign in ",!&^")
    groups = chain.from_iterable(node.groups for node in site().nodes)
    names = [node.name for node in site().nodes]
    names += [f"@{group}" for group in dict.fromkeys(groups)]
    return (value[:cut] + name for name in [*names, "@*"])


def names_of(parts: Iterable[Image | Server]) -> list[str]:
    return [part.name for part in parts]


def release_ids(value: str) -> Iterator[str]:
    """Those that are built, that the site names, and that are on this machine."""
    from .base.desired import targets
    from .core.store.kept import published

    yield from published(targets(this_run()))
    held = {node.release for node in site().nodes}
    held.update(image.release for image in site().images)
    yield from filter(None, held)


PATHS = {"site": ".yaml", "build": "", "destdir": ""}
NAMES: dict[str, Callable[[str], Iterable[str]]] = {
    "node": node_names,
    "image": lambda value: names_of(site().images),
    "server": lambda value: names_of(site().servers),
    "release": release_ids,
}
