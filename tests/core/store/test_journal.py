"""Which of two commits is the older one, by what a checkout and a server's journal say."""

from __future__ import annotations

import pytest

from tasks.core.store import journal

HERE = {
    "git": "c" * 40,
    "committed": "2026-11-23T05:00:00Z",
    "later": ["d" * 40],
    "earlier": ["c" * 40, "b" * 40],
}
BEFORE, AFTER = "2026-11-22T05:00:00Z", "2026-11-24T05:00:00Z"


@pytest.mark.parametrize(
    "git, committed, older",
    [
        ("d", BEFORE, True),  # made on top of it, whatever the clocks said
        ("b", AFTER, False),  # it was made on top of that
        ("c", AFTER, False),
        ("e", AFTER, True),  # not known here: a checkout that was not brought up to date
        ("e", BEFORE, False),
        ("e", None, False),  # an earlier version did not write it down
    ],
)
def test_a_commit_is_older_by_what_was_made_on_top_and_else_by_its_time(git, committed, older):
    deployed = {"git": git * 40, **({"committed": committed} if committed else {})}
    assert journal.is_older(HERE, deployed) is older


def test_where_one_of_them_is_no_commit_nothing_is_older():
    assert not journal.is_older({}, {"git": "d" * 40})
    assert not journal.is_older(HERE, {})
    assert not journal.newest_deploy([{"git": "unknown", "action": "deploy", "result": "done"}])
