"""How a command is used: `doit COMMAND -h`, and options that it does not know.

doit itself answers both in the words of its parser, when the build has begun to be looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from doit.exceptions import InvalidDodoFile

from .base.settings import EVERYWHERE, useless

DOIT_OWN = ("clean", "forget", "ignore", "reset-dep")  # of doit, and not only to read
HELP = ("-h", "--help")


def usage(tasks: Mapping[str, Any]) -> None:
    """Look at the command line before all else. Raises InvalidDodoFile for an unknown option.

    And for a variable that a command of doit's own would ignore: `clean image=` cleans all.
    """
    refuse_useless_of_doit(sys.argv[1:])
    for name, options in asked(sys.argv[1:], tasks):
        make = tasks[f"task_{name}"]
        if not {*HELP}.isdisjoint(options):
            print("\n".join(told(name, make)))
            sys.exit(0)
        for option in options:
            look(name, option, known(make))
        last = next(word for word in reversed(sys.argv[1:]) if not is_variable(word))
        if lacks_value(last, known(make)):
            raise InvalidDodoFile(f"{name} {last}: of what? write {last}=…")


def refuse_useless_of_doit(words: Sequence[str]) -> None:
    """Raises InvalidDodoFile."""
    first = next(filter(is_plain, words), "")
    if first in DOIT_OWN and (lines := useless({first: ()})):
        raise InvalidDodoFile("\n".join(lines))


def asked(words: Sequence[str], tasks: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each command given with the options behind it; nothing where doit itself is asked."""
    names = list(commands(words, tasks))
    plain = list(filter(is_plain, words))
    if not names or plain[0] not in (words[names[0]], "run"):
        return
    names = before_words(words, names, tasks)
    ends = [*names[1:], len(words)]
    for first, end in zip(names, ends):
        behind = words[first + 1 : end]
        yield words[first], list(filter(is_option, behind))


def commands(words: Sequence[str], tasks: Mapping[str, Any]) -> Iterator[int]:
    """Where commands stand: of `bench --only configs` the second is an option's value."""
    last = None
    for number, word in enumerate(words):
        make = tasks.get(f"task_{word}")
        before = words[number - 1] if number else ""
        if make and not (last and is_option(before) and lacks_value(before, known(last))):
            last = make
            yield number


def before_words(words: Sequence[str], names: list[int], tasks: Mapping[str, Any]) -> list[int]:
    """Without what only looks like a command: what stands behind one is a word of it, if it can."""
    for at, number in enumerate(names):
        if words_of(tasks[f"task_{words[number]}"]):
            return names[: at + 1]
    return names


def words_of(make: Callable[[], Any]) -> Sequence[str]:
    """What a command can be told by a word behind it."""
    task = make()
    meta = (task.get("meta") or {}) if isinstance(task, dict) else {}
    return tuple(meta.get("words", ()))


def is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1


def is_variable(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def is_plain(word: str) -> bool:
    """Whether it is no option, no variable and no value of an option such as `-n`."""
    if word.startswith("-") or is_variable(word):
        return False
    return not word.isdigit()


def known(make: Callable[[], Any]) -> list[Mapping[str, Any]]:
    """The options of a command."""
    task = make()
    if not isinstance(task, dict):
        return []
    return list(task.get("params", ()))


def look(name: str, option: str, options: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidDodoFile where a command has no such option."""
    words = list(chain.from_iterable(map(spelled, options)))
    given, is_said, value = option.partition("=")
    told = [row for row in options if is_said and given in spelled(row)]
    # One whose default is None has words of its own for nothing
    kinds = [row.get("type") for row in told if value or row.get("default") is not None]
    for wrong in filter(None, (wrong_value(kind, value) for kind in kinds)):
        raise InvalidDodoFile(f"{name} {option}: {wrong}")
    if is_number(option) or any(is_meant(word, given) for word in words):
        return
    has = ", ".join(words) or "none"
    wrong = f"{name} {given}: no such option; it has {has}"
    raise InvalidDodoFile(f"{wrong}; ./doit {name} -h says more")


def wrong_value(kind: Any, value: str) -> str:
    """Why an option cannot have that value; "" where it can."""
    if kind is bool:
        return "it has no value; leave that out"
    if not value:  # as of a job whose own variable is not set
        return "nothing is named; name what is meant, or leave it out"
    if kind in (int, float):
        try:
            kind(value)
        except ValueError:
            return "not a whole number" if kind is int else "not a number"
    return ""


def lacks_value(option: str, options: Sequence[Mapping[str, Any]]) -> bool:
    """Whether that, as the last word, is an option that a value must follow."""
    return any(row.get("type") is not bool and option in spelled(row) for row in options)


def is_number(option: str) -> bool:
    """Whether it is the negative value of another option."""
    digits = option.lstrip("-").replace(".", "", 1)
    return digits.isdigit()


def is_meant(word: str, given: str) -> bool:
    """Whether an option is what was given: itself, a short one with its value, or its beginning."""
    if word == given:
        return True
    if len(word) == 2:
        return given.startswith(word)
    if given == "--":
        return False
    return given.startswith("--") and word.startswith(given)


def spelled(option: Mapping[str, Any]) -> list[str]:
    words = [f"--{option['long']}"]
    if option.get("short"):
        words.insert(0, f"-{option['short']}")
    return words


def told(name: str, make: Callable[[], Any]) -> Iterator[str]:
    """What a command does, and its options."""
    what = (make.__doc__ or "").strip()
    yield f"./doit {name}: {what}"
    for option in known(make):
        words = ", ".join(spelled(option))
        if option.get("type") is not bool:
            words += "=…"
        yield f"  {words:<24} {option.get('help', '')}"
    variables = " ".join(f"{each}=" for each in variables_of(make))
    yield f"Variables: {variables}; all commands: ./doit list"


def variables_of(make: Callable[[], Any]) -> list[str]:
    """Those that a command has a use for."""
    task = make()
    meta = (task.get("meta") or {}) if isinstance(task, dict) else {}
    return [*meta.get("knows", ()), *EVERYWHERE]
