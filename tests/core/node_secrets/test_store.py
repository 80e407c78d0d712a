"""The store keeps what it has from everybody else, and what is damaged in it is made anew."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.core.base.errors import Refused
from tasks.core.node_secrets.blobs import NodeSecrets, renew
from tasks.core.node_secrets.source import MOST, read_secret
from tasks.core.node_secrets.store import SecretsStore
from tasks.core.site.model import Secret, SecretSource

SECRET = Secret("munge", "etc/munge/munge.key", SecretSource("munge.key"))


@pytest.fixture
def store(tmp_path: Path) -> SecretsStore:
    store = SecretsStore(str(tmp_path / "private/store"))
    store.begin(str(tmp_path / "build"))
    return store


@pytest.fixture(scope="module")
def needs() -> dict[str, NodeSecrets]:
    private = subprocess.run(["age-keygen"], check=True, capture_output=True).stdout
    words = ["age-keygen", "-y"]
    public = subprocess.run(words, input=private, check=True, capture_output=True).stdout
    return {"wn001": NodeSecrets("wn001", public.decode().strip(), (SECRET,))}


def test_nobody_else_may_read_any_of_it(store, needs):
    renew(needs, store, lambda secret: b"the key")
    store.write_recipients({"wn001": needs["wn001"].recipient})
    found = list(Path(store.folder).rglob("*")) + [Path(store.folder)]
    assert len(found) > 5
    assert [path for path in found if path.stat().st_mode & 0o077 and path.name != ".lock"] == []


def test_who_is_no_node_any_more_is_not_enrolled(store, needs):
    """The next machine of that name would be sent secrets that the one before can open."""
    (key,) = [need.recipient for need in needs.values()]
    store.write_recipients({"wn001": key, "wn002": key.replace("1q", "1p"), "wn003": key})
    assert store.forget_others(["wn001", "wn004"]) == ["wn002", "wn003"]
    assert store.recipients == {"wn001": key}
    assert store.forget_others(["wn001"]) == []


@pytest.mark.parametrize(
    ("damage", "anew"),
    [
        (lambda store: None, []),
        (lambda store: store.write_blob("wn001", b"cut off"), ["wn001"]),
        (lambda store: os.unlink(f"{store.folder}/blobs/wn001.age"), ["wn001"]),
        (lambda store: Path(store.folder, "made.json").write_text("[1, 2"), ["wn001"]),
        (lambda store: Path(store.folder, "made.json").write_text('{"wn001": 7}'), ["wn001"]),
        (lambda store: Path(store.folder, "key").write_bytes(b"another"), ["wn001"]),
    ],
)
def test_what_is_damaged_is_encrypted_anew_and_nothing_else(store, needs, damage, anew):
    assert renew(needs, store, lambda secret: b"the key") == ["wn001"]
    damage(store)
    again = SecretsStore(store.folder)
    assert renew(needs, again, lambda secret: b"the key") == anew


def test_who_has_the_digests_and_not_the_key_cannot_try_what_a_secret_is(store, needs):
    renew(needs, store, lambda secret: b"1234")
    other = SecretsStore(f"{store.folder}-other")
    other.begin("/nowhere/build")
    renew(needs, other, lambda secret: b"1234")
    mine, others = store.made["wn001"], other.made["wn001"]
    assert mine.digest != others.digest and mine.shape != others.shape


def test_it_is_no_part_of_a_build(tmp_path):
    for place, build in (("build/store", "build"), ("store", "store/build"), ("build", "build")):
        with pytest.raises(Refused, match="lie in one another"):
            SecretsStore(str(tmp_path / place)).begin(str(tmp_path / build))
    assert os.listdir(tmp_path) == []


def test_what_is_too_large_or_never_ends_is_refused(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (MOST + 1))
    with pytest.raises(Refused, match="secrets.munge: more than 65536 bytes"):
        read_secret(SECRET._replace(source=SecretSource(f"{tmp_path}/large")), str(tmp_path))
    missing = SecretSource(command=("./nowhere",))
    with pytest.raises(Refused, match="nowhere: No such file or directory"):
        read_secret(SECRET._replace(source=missing), str(tmp_path))
