"""Lines that can be read at one look, and functions that fit one: how the code is written, measured."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support import source_code
from tests.support.source_code import Module

MODULES = list(source_code.modules().values())


def places(found: Iterator[tuple[Module, int, str]]) -> list[str]:
    return [f"{module.path}:{line}: {what}" for module, line, what in found]


def test_no_line_is_longer_than_a_hundred_characters():
    assert places(_long_lines()) == []


def _long_lines() -> Iterator[tuple[Module, int, str]]:
    for module in MODULES:
        for number, line in enumerate(module.path.read_text().splitlines(), 1):
            if len(line) > 100:
                yield module, number, f"{len(line)} characters"


def test_a_line_of_code_has_nine_tokens_in_the_mean():
    count, lines = 0, 0
    for module in MODULES:
        found = source_code.tokens(module.path, module.tree)
        count += len(found)
        lines += len({token.line for token in found})
    assert count / lines <= 9


def test_a_statement_has_one_comprehension_at_the_most():
    assert places(_with_several_comprehensions()) == []


def _with_several_comprehensions() -> Iterator[tuple[Module, int, str]]:
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.stmt) and source_code.comprehensions(node) > 1:
                yield module, node.lineno, "more than one comprehension"


def test_a_function_is_given_five_things_at_the_most():
    assert places(_with_many_parameters()) == []


def _with_many_parameters() -> Iterator[tuple[Module, int, str]]:
    for module in MODULES:
        for function in source_code.functions(module.tree):
            given = source_code.parameters(function)
            if len(given) > 5:
                yield module, function.lineno, f"{function.name}: {len(given)} parameters"


def test_a_function_fits_one_look():
    assert places(_long_functions()) == []


def _long_functions() -> Iterator[tuple[Module, int, str]]:
    """Longer than 40 lines, or of more than 200 tokens."""
    for module in MODULES:
        found = [token.line for token in source_code.tokens(module.path, module.tree)]
        for function in source_code.functions(module.tree):
            first, last = function.lineno, function.end_lineno or function.lineno
            size = sum(first <= line <= last for line in found)
            if last - first >= 40 or size > 200:
                yield module, first, f"{function.name}: {last - first + 1} lines, {size} tokens"
