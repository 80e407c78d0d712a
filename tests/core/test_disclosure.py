"""What of two releases may be told to whoever reads a plan, and of which files only that they differ."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tasks.core import disclosure
from tasks.core.history.sides import LARGEST, Side, differing_texts, read_side
from tasks.core.tree.manifest import manifest_of
from tasks.core.tree.model import DIR, Entry, Tree, generated_file, symlink

HASH = b"$6$saltsalt$" + b"h" * 86
KEY = b"-----BEGIN PRIVATE KEY-----\n" + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 9


def told(path: str, before: bytes, after: bytes, keep=(), closed: Mapping[str, str] = {}) -> dict:
    """What is told of one file."""
    asked = {
        "before": "worker-0",
        "after": "worker-1",
        "paths": [path],
        "packages": False,
        "old": Side(None, {path: before}, closed).dump(),
    }
    found = disclosure.told(asked, Side(None, {path: after}, {}), keep)
    assert found["packages"] is None and found["unknown"] == ""
    return found["texts"][0]


def test_a_text_is_shown_as_it_differs_and_moves_no_cursor():
    found = told("etc/motd", b"a\nold\n", b"a\nnew \x1b[2Jword\n")
    assert found == {
        "path": "etc/motd",
        "diff": ["@@ -1,2 +1,2 @@", " a", "-old", "+new [2Jword"],
        "why": "",
    }


@pytest.mark.parametrize(
    "path, secret",
    [
        ("etc/app.conf", b"admin:" + HASH + b"\n"),
        ("etc/app.pem", KEY),
        ("etc/passwd", b"root:" + HASH + b":0:0::/root:/bin/sh\n"),
        ("etc/ssh/ssh_host_rsa_key", b"anything\n"),
        ("etc/ldap.conf", b"bindpw of-the-site\n"),
    ],
)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_secret_on_either_side_hides_both(path, secret, is_before):
    sides = (secret, b"plain\n") if is_before else (b"plain\n", secret)
    found = told(path, *sides)
    assert found["diff"] == [] and found["why"] == "it may hold a secret"


@pytest.mark.parametrize("keep", [["etc/app"], ["/etc/app/"], ["etc/app/x.conf"], ["/etc"]])
def test_what_keep_lets_out_is_not_shown(keep):
    found = told("etc/app/x.conf", b"a\n", b"b\n", keep)
    assert found == {"path": "etc/app/x.conf", "diff": [], "why": "`keep` lets it out"}
    assert told("etc/apple", b"a\n", b"b\n", keep)["diff"] != [] or keep == ["/etc"]


def test_what_is_no_text_or_closed_is_not_shown():
    assert told("etc/x.db", b"a\0b", b"a")["why"] == "it is no text"
    assert told("etc/x.txt", b"a", b"\xff\xfe")["why"] == "it is no text"
    assert told("etc/x", b"a", b"b", closed={"etc/x": "others"})["why"] == "others"


def test_packages_that_nobody_can_read_are_said_to_be_unknown():
    asked = {"before": "a", "after": "b", "paths": [], "packages": True}
    asked["old"] = Side({"a": "1"}, {}, {}).dump()
    found = disclosure.told(asked, Side(None, {}, {}), ())
    assert found["packages"] is None and "rpm" in found["unknown"]


ROOT: Tree = {
    b"": Entry(DIR, 0o755, 0, 0),
    b"etc": Entry(DIR, 0o755, 0, 0),
    b"etc/open": generated_file(b"open\n"),
    b"etc/closed": generated_file(b"closed\n", 0o640),
    b"etc/private": Entry(DIR, 0o700, 0, 0),
    b"etc/private/open": generated_file(b"open below\n"),
    b"etc/large": generated_file(b"x" * (LARGEST + 1)),
    b"etc/damaged": generated_file(b"damaged\n"),
    b"etc/link": symlink(b"open"),
}


def test_of_a_root_is_read_what_everybody_may_read_and_is_as_it_was_published(tmp_path):
    for path, entry in ROOT.items():
        place = tmp_path / path.decode()
        if entry.type == DIR:
            place.mkdir(exist_ok=True)
        elif entry.data is not None:
            place.write_bytes(entry.data)
    (tmp_path / "etc/damaged").write_bytes(b"by hand\n")
    names = ["open", "closed", "private/open", "large", "damaged", "link", "../../etc/passwd"]
    side = read_side(manifest_of(ROOT), str(tmp_path), [f"etc/{name}" for name in names], False)
    assert side.texts == {"etc/open": b"open\n"}
    others = "others may not read it"
    assert side.closed == {
        "etc/closed": others,
        "etc/private/open": others,
        "etc/large": "it is large",
        "etc/damaged": "it is not as it was published",
        "etc/link": others,
        "etc/../../etc/passwd": others,
    }


def test_texts_are_those_of_files_of_etc_that_both_have():
    after = {
        **ROOT,
        b"etc/open": generated_file(b"other\n"),
        b"etc/closed": generated_file(b"closed\n"),
        b"etc/link": symlink(b"closed"),
        b"etc/new": generated_file(b"new\n"),
        b"usr/etc/open": generated_file(b"new\n"),
    }
    assert differing_texts({**ROOT, b"usr/etc/open": generated_file(b"old\n")}, after) == [
        "etc/open"
    ]
