"""A key of `site.yaml` is written down once: as a row beside the field that it fills.

A row says what may be written, its help, how it is merged, and what is made of it. The models that
check a site, merging, the recipes, the tables of docs/site.md and the editors' schema follow from
it. Small, and fit for Python 3.9: a run that knows its site, and a boot server, read this, too.
"""

from typing import Any, NamedTuple

# What may be written


class Text:
    """A text that a function of `values` checks: by its name, for most runs need not load that."""

    def __init__(self, check: str, number: bool = False):
        self.check = check
        self.number = number  # it may look like one: an editor takes 3.10 for a number, we do not


class PathHere(Text):
    """A path on this machine, of which the value is absolute; or a word, which stays as it is.

    So does a URI of one of these schemes.
    """

    def __init__(
        self, check: str = "here", words: tuple[str, ...] = (), schemes: tuple[str, ...] = ()
    ):
        super().__init__(check)
        self.words, self.schemes = words, schemes

    def is_path(self, written: str) -> bool:
        return written not in self.words and not written.startswith(self.schemes)


class Choice:
    """One of some words."""

    def __init__(self, *words: str):
        self.words = words


class Whole:
    """A whole number."""

    def __init__(self, least: int, most: int):
        self.least, self.most = least, most


class Boolean:
    """true or false."""


class ListOf:
    def __init__(self, each: Any, least: int = 0, most: int = 0):
        self.each = each
        self.least, self.most = least, most  # 0: it has no bound


class OneOrList:
    """One text, or a list of them: always a list afterwards."""

    def __init__(self, each: Text):
        self.each = each


class MapOf:
    def __init__(self, names: Text, each: Any, least: int = 0):
        self.names, self.each, self.least = names, each, least


# How a setting of an image, of groups and of a node become one; as a word, for messages and tables

REPLACE = "replace"  # the last that gives it wins
APPEND = "append"  # words, or what a list holds, are added to those before
KEYWISE = "keywise"  # a mapping: key by key, as the row of each one says
LOWEST = "lowest"  # it names the image, over which the others are laid

# What is made by a key: the root, or the initrd, is made anew when a key of its recipe changes

ROOT = "root"
INITRD = "initrd"


class Key(NamedTuple):
    """A row: all that is known of a key."""

    kind: Any  # one of the kinds above, or the class of a mapping's value
    help: str  # for editors; for docs/site.md, too, where that says no more
    manual: str = ""  # docs/site.md's words
    default: str = ""  # docs/site.md's word where the default is worked out
    merge: str = ""  # a setting that several layers may give; else the field's default stands
    of_image: bool = False  # a setting of groups and nodes whose first layer is what the image says
    optional: bool = False  # where the field has no default: it is worked out
    recipe: str = ""
    examples: tuple[Any, ...] = ()


class Row:
    """A key of a class of values: its name, and its field's default, REQUIRED if it has none."""

    def __init__(self, name: str, key: Key, default: Any):
        self.name, self.key, self.default = name, key, default


REQUIRED = object()
_ROWS: dict[type, dict[str, Row]] = {}


def rows(values: Any) -> dict[str, Row]:
    """The rows of a class of values by the names of their keys, in order."""
    if values not in _ROWS:
        _ROWS[values] = _rows(values)
    return _ROWS[values]


def _rows(values: Any) -> dict[str, Row]:
    defaults = getattr(values, "_field_defaults", vars(values))
    found = {}
    for field, wanted in getattr(values, "__annotations__", {}).items():
        name = field.rstrip("_")  # `from_` is the key `from`, a word of Python's
        for key in getattr(wanted, "__metadata__", ()):  # of Annotated[type, key]
            found[name] = Row(name, key, defaults.get(field, REQUIRED))
    return found


def recipe(which: str, value: Any) -> tuple[Any, ...]:
    """What of a value belongs to a recipe, inside its parts, too."""
    found = []
    for row in rows(type(value)).values():
        part = getattr(value, row.name)
        if row.key.recipe == which:
            found.append(part)
        elif isinstance(row.key.kind, type):
            found += recipe(which, part)
        elif isinstance(row.key.kind, ListOf) and isinstance(row.key.kind.each, type):
            inside = [recipe(which, each) for each in part]
            found += filter(None, inside)
    return tuple(found)
