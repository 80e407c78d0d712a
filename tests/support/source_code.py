"""What the tests of structure and style know of the code: its modules, imports, functions and tokens."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import REPOSITORY

LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)


class Module(NamedTuple):
    """A module of tasks/: its dotted name, and its tree of syntax."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """Of `tasks.core.site.load` it is `tasks.core.site`."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def modules() -> dict[str, Module]:
    """Every module of tasks/, by its name."""
    found = {}
    for path in sorted((REPOSITORY / "tasks").rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = Module(name, path, ast.parse(path.read_text()))
    return found


class Imported(NamedTuple):
    importer: str
    module: str
    name: str  # "" where it is the module itself
    line: int


def imports(module: Module, known: dict[str, Module]) -> Iterator[Imported]:
    """What a module imports of tasks/, inside its functions too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in known:
                    yield Imported(module.name, inner, "", node.lineno)
                elif base in known:
                    yield Imported(module.name, base, alias.name, node.lineno)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of names that reach each other: Tarjan's strongly connected components of two and more."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for other in edges.get(name, ()):
            if other not in index:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])
        if lowest[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(edges):
        if name not in index:
            visit(name)
    return found


class Token(NamedTuple):
    line: int
    column: int


def tokens(path: Path, tree: ast.Module) -> list[Token]:
    """The tokens of code: no comments, no docstrings, nothing of layout.

    An f-string is one, as any string: from Python 3.12 on its parts come as tokens of their own.
    """
    documentation = set(_docstrings(tree))
    found = []
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        place = Token(*token.start)
        if not depth and token.type not in LAYOUT and place not in documentation:
            found.append(place)
        kind = tokenize.tok_name[token.type]
        depth += (kind == "FSTRING_START") - (kind == "FSTRING_END")
    return found


def _docstrings(tree: ast.Module) -> Iterator[Token]:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            yield Token(first.lineno, first.col_offset)


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names of what a function is given, but for what a method belongs to."""
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    names = [each.arg for each in every if each]
    return [name for name in names if name not in ("self", "cls")]


def comprehensions(statement: ast.stmt) -> int:
    """How many stand in a statement itself, not in those inside it."""
    count = 0
    waiting: list[ast.AST] = [statement]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
                continue
            count += isinstance(node, COMPREHENSIONS)
            waiting.append(node)
    return count
