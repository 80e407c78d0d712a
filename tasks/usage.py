"""How a command is used: `doit COMMAND -h`, and options that it does not know.

doit itself answers both in the words of its parser, when the build has begun to be looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from doit.exceptions import InvalidDodoFile

from .base.settings import Settings

HELP = ("-h", "--help")


def usage(tasks: Mapping[str, Any]) -> None:
    """Look at the command line before anything is read. Raises InvalidDodoFile for an unknown option."""
    for name, options in asked(sys.argv[1:], tasks):
        make = tasks[f"task_{name}"]
        if not {*HELP}.isdisjoint(options):
            print("\n".join(told(name, make)))
            sys.exit(0)
        for option in options:
            look(name, option, known(make))


def asked(words: Sequence[str], tasks: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each command of the command line with the options behind it; nothing where doit itself is asked."""
    names = [number for number, word in enumerate(words) if f"task_{word}" in tasks]
    plain = [
        word
        for word in words
        if not word.startswith("-") and "=" not in word and not word.isdigit()
    ]
    if not names or plain[0] not in (words[names[0]], "run"):
        return
    for first, end in zip(names, [*names[1:], len(words)]):
        yield (
            words[first],
            [word for word in words[first + 1 : end] if word.startswith("-") and len(word) > 1],
        )


def known(make: Callable[[], Any]) -> list[Mapping[str, Any]]:
    """The options of a command."""
    task = make()
    return list(task.get("params", ())) if isinstance(task, dict) else []


def look(name: str, option: str, options: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidDodoFile where a command has no such option."""
    words = [word for each in options for word in spelled(each)]
    given = option.partition("=")[0]
    number = option.lstrip("-").replace(".", "", 1).isdigit()
    if given in words or number or any(len(word) == 2 and given.startswith(word) for word in words):
        return
    fits = [
        word for word in words if word.startswith("--") and word.startswith(given)
    ]  # doit takes a beginning, too
    if given.startswith("--") and len(given) > 2 and fits:
        return
    has = f"it has {', '.join(words)}" if words else "it has none"
    raise InvalidDodoFile(f"{name} {given}: no such option; {has}; ./doit {name} -h says more")


def spelled(option: Mapping[str, Any]) -> list[str]:
    short = [f"-{option['short']}"] if option.get("short") else []
    return [*short, f"--{option['long']}"]


def told(name: str, make: Callable[[], Any]) -> Iterator[str]:
    """What a command does, and its options."""
    yield f"./doit {name}: {(make.__doc__ or '').strip()}"
    for option in known(make):
        value = "" if option.get("type") is bool else "=…"
        yield f"  {', '.join(spelled(option)) + value:<24} {option.get('help', '')}"
    yield f"Variables: {' '.join(f'{each}=' for each in Settings.__dataclass_fields__)}; all commands: ./doit list"
