"""How paths are shown to a person: one line, and the same in every message."""

from __future__ import annotations

import pytest

from tasks.core.base.text import show_path, shown_path


@pytest.mark.parametrize(
    "path, shown",
    [
        (b"usr/bin/sh", "usr/bin/sh"),
        ("straße".encode(), "straße"),
        (b"caf\xe9", r"caf\xe9"),
        (b"two\nlines", r"two\nlines"),
        (b"\x1b[31mred", r"\x1b[31mred"),
    ],
)
def test_a_path_is_shown_in_one_line_and_the_same_everywhere(path: bytes, shown: str):
    assert show_path(path) == shown_path(path) == shown


def test_the_root_itself_is_a_dot():
    assert shown_path(b"") == "."
