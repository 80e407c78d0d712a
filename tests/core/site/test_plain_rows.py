"""Rows of `nodes:` that are read without libyaml mean what libyaml reads in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.core.base.errors import BadInput
from tasks.core.site import strict_yaml
from tasks.core.site.strict_yaml import YamlSource

HEAD = "site: a\n"
ROW = '  wn001: {mac: "52:54:00:12:34:56", ip: 10.0.0.1, groups: [gpu, big]}\n'

WORDS = ("a", "10.0.0.1", "null", "~", '"null"', '""', '"a, b: c"', '"a#b"', "a:b", "a b", "'a'")
VALUES = st.sampled_from((*WORDS, "[a, b]", "[a, null]", "[]", "{a: b}", "&x a", "*x", "!t a", "é"))
KEYS = st.sampled_from(("mac", "ip", "null", "a-b", "<<", '"q"'))
PAIRS = st.lists(st.tuples(KEYS, VALUES), max_size=3)
NAMES = st.sampled_from(("wn1", "wn2", "wn[1-3]", "null", '"wn4"', "a,b", "- x"))
REST = st.sampled_from(("", " # words", "   ", " x", ",", "\r", " # words\r  wn3: {mac: a}"))


@st.composite
def rows(draw) -> str:
    body = ", ".join(f"{key}: {value}" for key, value in draw(PAIRS))
    return f"  {draw(NAMES)}: {{{body}}}{draw(REST)}\n"


OTHERS = st.sampled_from(
    (
        "\n",
        "# words\n",
        "    # words\n",
        "nodes:\n",
        "nodes: # words\n",
        "nodes: {}\n",
        '"nodes":\n',
        "groups:\n",
        "---\n",
        "...\n",
        "  wn5:\n",
        "    mac: a\n",
        "   ip: b\n",
        " wn6:\n",
        "  - x\n",
        "  x\n",
        'more: "\n',
        '"\n',
        "more: |\n",
        "more: {\n",
        "}\n",
    )
)
TEXTS = st.lists(st.one_of(rows(), rows(), OTHERS), max_size=12).map("".join)


def read(text: str) -> Any:
    """What a file says, and in which order; or what is wrong with it, and where."""
    try:
        found = YamlSource("site.yaml", text.encode())
    except BadInput as error:
        return error.problems
    return repr(found.data), found.problems


def read_by_libyaml(text: str) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strict_yaml, "_plain_rows", lambda text: (text, {}, ""))
        return read(text)


@settings(max_examples=1000, deadline=None)
@example(f"{HEAD}nodes:\n", "  null: {mac: a}\n")
@example(f"{HEAD}nodes:\n", "  wn1: {mac: a}\n    ip: b\n")
@example(f"{HEAD}nodes:\n", "  wn1: {mac: a}\n  wn1: {mac: b}\n")
@example(f'{HEAD}more: "\nnodes:\n', '  wn1: {mac: a}\n"\n')
@example(f"{HEAD}nodes:\n", "  wn1: {mac: a}  # b\r  wn2: {mac: c}\n")
@example(f"{HEAD}nodes:\n", "  # a\r  wn1: {mac: b}\n  wn2: {mac: c}\n")
@example(f"{HEAD}nodes: # a\r  wn1: {{mac: b}}\n", "  wn2: {mac: c}\n")
@given(st.sampled_from(("", HEAD, f"{HEAD}nodes:\n", f"{HEAD}nodes:\n{ROW}")), TEXTS)
def test_whatever_stands_there_it_is_read_as_libyaml_reads_it(head: str, text: str):
    assert read(head + text) == read_by_libyaml(head + text)


def test_plain_rows_are_not_given_to_libyaml(monkeypatch: pytest.MonkeyPatch):
    seen = []
    parser = strict_yaml._loader()
    monkeypatch.setattr(
        strict_yaml, "_loader", lambda: lambda text: seen.append(text) or parser(text)
    )
    text = (
        f"{HEAD}nodes:\n{ROW}\n  # rack 2\n{ROW.replace('wn001', 'wn002')}groups: {{gpu: {{}}}}\n"
    )
    nodes = YamlSource("site.yaml", text.encode()).data["nodes"]
    assert seen == [f"{HEAD}nodes:\ngroups: {{gpu: {{}}}}\n"]
    row = {"mac": "52:54:00:12:34:56", "ip": "10.0.0.1", "groups": ["gpu", "big"]}
    assert nodes == {"wn001": row, "wn002": row} and list(nodes) == ["wn001", "wn002"]
