"""A file's diff as a plan shows it: what an admin reads leads from the one text to the other."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tasks.core.plan.model import FileChange

LINES = st.lists(st.sampled_from("abcdefgh"), max_size=30) | st.integers(0, 30).map(
    lambda count: list(map(str, range(count)))
)
HEAD, TAIL = ([f"{end} {number}" for number in range(300)] for end in ("head", "tail"))
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@st.composite
def changed(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Some lines, and the same with some more, less or others."""
    before = draw(LINES)
    after = list(before)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(after)))
        after[at : at + draw(st.integers(0, 2))] = draw(
            st.lists(st.sampled_from("axyz"), max_size=2)
        )
    return before, after


def patched(before: list[str], diff: list[str]) -> list[str]:
    """As patch(1) does it: hunks at their lines, all that they say is there looked for."""
    made: list[str] = []
    taken = 0
    for line in diff:
        if hunk := HUNK.fullmatch(line):
            start, count, place, number = hunk.groups()
            first = int(start) - (count != "0")
            made += before[taken:first]
            taken = first
            assert len(made) == int(place) - (number != "0")
        elif line[0] in " -":
            assert before[taken] == line[1:]
            taken += 1
        made += [line[1:]] if line[0] in " +" else []
    return made + before[taken:]


@given(changed())
def test_a_diff_leads_from_one_text_to_the_other(texts: tuple[list[str], list[str]]) -> None:
    before, after = ([*HEAD, *lines, *TAIL] for lines in texts)
    lines = FileChange("hosts", "\n".join(before).encode(), "\n".join(after).encode()).diff()
    assert patched(before, lines) == after
    assert bool(lines) == (before != after)


def test_what_is_alike_before_a_change_is_counted_and_not_shown() -> None:
    before = [f"line {number}" for number in range(1, 1001)]
    after = [*before[:499], "another", *before[500:]]
    lines = FileChange("hosts", "\n".join(before).encode(), "\n".join(after).encode()).diff()
    assert lines == [
        "@@ -498,5 +498,5 @@",
        " line 498",
        " line 499",
        "-line 500",
        "+another",
        " line 501",
        " line 502",
    ]
