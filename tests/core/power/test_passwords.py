"""Where passwords of BMCs are read, and what is said where there is none; never the password."""

from __future__ import annotations

import pathlib

import pytest

from tasks.core.base.errors import Refused
from tasks.core.power.passwords import Passwords, read_password
from tasks.core.site.model import Management, Node, Password


def node(name: str, password: Password) -> Node:
    management = Management(protocol="ipmi", user="admin", password=password)
    return Node(name, None, "172.24.10.1", "worker", management=management)  # type: ignore[arg-type]


def test_each_place_is_read_to_the_end_of_its_first_line(tmp_path: pathlib.Path, monkeypatch):
    file = tmp_path / "password"
    file.write_text("calvin\r\nmore\n")
    file.chmod(0o600)
    monkeypatch.setenv("BMC", "hob bes")
    assert read_password(Password(file=str(file))) == "calvin"
    assert read_password(Password(env="BMC")) == "hob bes"
    assert read_password(Password(command="echo susie; echo more; echo noise >&2")) == "susie"


def test_what_nodes_share_is_read_once_before_any_is_asked_and_the_rest_for_each(
    tmp_path: pathlib.Path,
):
    shared = Password(command=f"echo once >>{tmp_path}/log; echo one")
    own = Password(command='echo "of $NODE"')
    nodes = [node("wn001", shared), node("wn002", shared), node("wn003", own)]
    found = Passwords(nodes)
    assert [found.of(each) for each in nodes] == ["one", "one", "of wn003"]
    assert (tmp_path / "log").read_text() == "once\n"
    places = ["exit 3", "exit 4", "exit 3", "exit 5; echo $NODE"]
    found = Passwords(node("wn001", Password(command=each)) for each in places)
    assert [why[-3:] for why in found.wrong] == [" 3)", " 4)"], "all of them, once"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Password(command="echo locked >&2; exit 2"), "its command: locked (exit status 2)"),
        (Password(command="true"), "its command: there is none in it"),
        (Password(env="NOT_THERE"), "no variable NOT_THERE in the environment; export it"),
        (Password(file="/nowhere"), "/nowhere: No such file or directory"),
        (Password(file="/"), "/: "),
    ],
)
def test_what_is_wrong_is_one_line(said: Password, why: str):
    with pytest.raises(Refused, match="^password: ") as caught:
        read_password(said)
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_others_may_read_is_no_place_for_one(tmp_path: pathlib.Path):
    file = tmp_path / "password"
    file.write_text("calvin\n")
    file.chmod(0o640)
    with pytest.raises(Refused, match=f"others may read it; chmod 600 {file}"):
        read_password(Password(file=str(file)))
