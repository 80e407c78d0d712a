"""Paths that patterns match."""

from __future__ import annotations

import re

# The table


def sample(pattern: str) -> tuple[bytes, bool]:
    """A path that the pattern matches, and whether it has to be a folder's."""
    text = re.sub(r"\[(.).*?\]", r"\1", pattern.strip("/"))
    text = text.replace("/**/", "/q/q/").replace("**", "q/q").replace("*", "q").replace("?", "q")
    return text.encode(), pattern.endswith("/")
