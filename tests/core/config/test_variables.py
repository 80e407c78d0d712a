"""docs/templates.md has every variable that templates see, with its meaning."""

from __future__ import annotations

import re

from tasks.core.config.variables import MEANINGS, rows_of
from tasks.develop import variables_text, views_of_templates
from tests.support.commands import REPOSITORY

PAGE = REPOSITORY / "docs/templates.md"


def test_the_tables_are_what_the_views_have():
    assert PAGE.read_bytes() == variables_text(), "run ./doit schema"


def test_every_variable_has_a_meaning_and_none_is_left_over():
    rows = [row for view in views_of_templates().values() for row in rows_of(view)]
    assert [name for name, _, meaning in rows if not meaning] == [], "say it in MEANINGS"
    assert MEANINGS.keys() == {name for name, _, _ in rows}


def test_every_template_is_told_of():
    told = re.findall(r"`([\w.-]+)`", PAGE.read_text())
    assert {path.name for path in (REPOSITORY / "templates").iterdir()} <= set(told)
