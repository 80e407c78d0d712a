"""Templates: found, checked, rendered."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import BadInput
from ..base.files import REPOSITORY
from ..base.nodeset import hostlist
from ..base.overlays import outside_problems, refuse_outside
from .cmdline import grub_words

if TYPE_CHECKING:
    import jinja2

TEMPLATES = os.path.join(REPOSITORY, "templates")

View = Mapping[str, Any]


class NodeRow(NamedTuple):
    """A node as templates see it."""

    name: str
    mac: str
    ip: str
    server: str
    next_server: str  # that server's address


class ClusterNode(NamedTuple):
    """A node as templates of the cluster's files see it."""

    name: str
    ip: str
    mac: str
    image: str
    groups: tuple[str, ...]
    facts: dict[str, str]
    aliases: tuple[str, ...]


_ROWS = (NodeRow, ClusterNode)
# All of ASCII but what ends a line, a string, a block or a statement in some of the files
_PLAIN = bytes(code for code in range(ord(" "), ord("~") + 1) if code not in b"\"'\\{};#")


def plain_values(view: View) -> View:
    """The view itself, if no string of it could be more than a value.

    Raises ValueError: the schema let it through.
    """
    if special := _words(view).encode().translate(None, delete=_PLAIN):
        found = special.decode()[0]
        raise ValueError(f"a site with {found!r} in a value must not reach a template")
    return view


def _words(value: Any) -> str:
    """All strings in a value, whatever they are in."""
    if value is None or isinstance(value, str):
        return value or ""
    parts = value.values() if isinstance(value, Mapping) else value
    kinds = set(map(type, parts))
    if all(issubclass(kind, str) for kind in kinds):
        return " ".join(parts)
    if all(issubclass(kind, tuple) for kind in kinds):  # rows: most that there is
        return _words(list(chain.from_iterable(parts)))
    return " ".join(map(_words, parts))


# What expressions can come to, however right the values are: 1 / 0, text + 1, 'x' * 10**14
_OF_EXPRESSIONS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def _sandbox() -> type[jinja2.Environment]:
    from jinja2.runtime import LoopContext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    known: dict[type, tuple[str, ...]] = {row: row._fields for row in _ROWS}
    known[LoopContext] = ("first", "last")

    class Sandbox(ImmutableSandboxedEnvironment):
        """Templates come with merge requests: they see values, and nothing of Python."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            # those that are asked for ten thousand times
            kind = type(obj)
            if attribute in known.get(kind, ()):
                return getattr(obj, attribute)
            if kind is dict and attribute in obj and not hasattr(dict, attribute):
                return obj[attribute]
            return super().getattr(obj, attribute)

    return Sandbox


def compiled(folders: tuple[str, ...], module: str) -> jinja2.BytecodeCache | None:
    """Our own templates as bytecode, kept where Python keeps that of this module.

    None where others are among them. `module`: the file of the one whose environment it is for.
    """
    import jinja2

    if folders != (TEMPLATES,):
        return None
    modules = {__file__, module}  # they and jinja2 decide what is compiled
    state = f"{jinja2.__version__} {sorted(os.stat(file).st_mtime_ns for file in modules)}"

    class Compiled(jinja2.FileSystemBytecodeCache):
        def get_source_checksum(self, source: str) -> str:
            return super().get_source_checksum(f"{state}\0{source}")

        def dump_bytecode(self, bucket: Any) -> None:
            if not sys.dont_write_bytecode:
                with suppress(OSError):  # it is compiled again the next time
                    super().dump_bytecode(bucket)

    return Compiled(os.path.join(os.path.dirname(__file__), "__pycache__"))


@lru_cache(maxsize=4)
def template_environment(folders: tuple[str, ...]) -> jinja2.Environment:
    import jinja2

    environment = _sandbox()(
        loader=template_loader(folders),
        bytecode_cache=compiled(folders, __file__),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["grub"] = grub_words
    environment.filters["fold"] = hostlist
    environment.filters["basename"] = os.path.basename
    return environment


def template_loader(folders: tuple[str, ...]) -> jinja2.BaseLoader:
    """What reads templates: the first folder that has one of a name wins."""
    import jinja2

    sites = tuple(map(os.path.dirname, folders))

    class Loader(jinja2.FileSystemLoader):
        """Raises BadInput where a link leads elsewhere: all nodes read what is rendered."""

        def get_source(self, environment: jinja2.Environment, template: str) -> Any:
            source = super().get_source(environment, template)
            refuse_outside(source[1], sites)
            return source

    return Loader(folders)


def check_templates(templates: Iterable[str] = (TEMPLATES,), is_right: bool = False) -> None:
    """Raises BadInput with every template that is none. `is_right`: their text is known to be."""
    folders = tuple(templates)
    if problems := outside_problems(folders, map(os.path.dirname, folders)):
        raise BadInput(problems)
    environment = template_environment(folders)
    assert environment.loader
    for name in environment.list_templates():
        try:
            with _complaints(name):
                source, path, _ = environment.loader.get_source(environment, name)
                if name.startswith("nodes/"):
                    continue  # what nodes fill themselves is no template of ours
                if "/" in name:
                    what = "a template in a folder of its own; put it into templates/ itself"
                    raise BadInput.at(path or name, what)
                if not is_right:
                    environment.parse(source, name, path)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def render_template(environment: jinja2.Environment, name: str, view: View) -> bytes:
    """A template's bytes. Raises BadInput at its place where one of the site's own is wrong."""
    with _complaints(name):
        return environment.get_template(name).render(view).encode()


@contextmanager
def _complaints(name: str) -> Iterator[None]:
    """jinja2's complaints about a template as ours."""
    import jinja2

    try:
        yield
    except jinja2.TemplateNotFound as error:
        raise BadInput.at(str(error), "no such template; put it back into templates/") from None
    except jinja2.TemplateSyntaxError as error:
        what = f"{error.message}; a Jinja2 template"
        raise BadInput.at(error.filename or name, what, error.lineno) from None
    except (jinja2.exceptions.SecurityError, OverflowError) as error:
        file, line = _place(error, name)
        what = f"{error}; a template sees values, and nothing of Python"
        raise BadInput.at(file, what, line) from None
    except jinja2.UndefinedError as error:
        file, line = _place(error, name)
        what = f"{error.message}; see Plugnode's own templates/{name} for what there is"
        raise BadInput.at(file, what, line) from None
    except (jinja2.TemplateRuntimeError, *_OF_EXPRESSIONS) as error:
        file, line = _place(error, name)
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise BadInput.at(file, f"{what}; correct the template", line) from None


def _place(error: Exception, name: str) -> tuple[str, int]:
    """Where in a template an error was raised: jinja2 gives its frames the template's own lines."""
    place = (name, 1)
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.endswith(f"/{name}"):
            place = (frame.filename, frame.lineno or 1)
    return place
