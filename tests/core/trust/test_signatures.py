"""Signatures: who made them is known whatever was done to them or to what is signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.core.base.errors import Refused
from tasks.core.base.ssh import public_keys
from tasks.core.trust.signatures import NAMESPACE, is_at_hand, is_good, sign

DATA = b'{"id": "worker-3f9a1c2b4d5e"}\n'


def key(folder: Path, name: str, kind: str = "ed25519", phrase: str = "") -> Path:
    file = folder / name
    words = ["-q", "-t", kind, "-N", phrase, "-C", f"{name} of a test", "-f", str(file)]
    subprocess.run(["ssh-keygen", *words], check=True)
    return file


def public(file: Path) -> tuple[str, ...]:
    return public_keys(Path(f"{file}.pub").read_bytes())


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_what_a_key_has_signed_is_good_by_it_and_by_no_other(tmp_path: Path, kind: str):
    ours, other = key(tmp_path, "ours", kind), key(tmp_path, "other")
    made = sign({"a": DATA, "b": b""}, f"{ours}.pub")
    assert is_good(DATA, made["a"], public(ours)) and is_good(b"", made["b"], public(ours))
    assert is_good(DATA, made["a"], [*public(other), *public(ours)])  # while keys change
    assert not is_good(DATA, made["a"], public(other)) and not is_good(DATA, made["a"], [])
    assert not is_good(DATA + b" ", made["a"], public(ours))
    assert not is_good(DATA, made["b"], public(ours))


@pytest.mark.parametrize("damage", [b"", b"\xff\0", b"-----BEGIN SSH SIGNATURE-----\n", None])
def test_what_is_no_signature_is_no_good_one(tmp_path: Path, damage: bytes | None):
    ours = key(tmp_path, "ours")
    whole = sign({"a": DATA}, str(ours))["a"]
    assert not is_good(DATA, whole[:-40] if damage is None else damage, public(ours))


def test_what_a_key_has_signed_for_another_purpose_is_no_good_one(tmp_path: Path):
    """As git or a file of an admin's own."""
    ours, file = key(tmp_path, "ours"), tmp_path / "file"
    file.write_bytes(DATA)
    for purpose in ("git", "file", NAMESPACE + "2"):
        words = ["ssh-keygen", "-Y", "sign", "-f", str(ours), "-n", purpose, str(file)]
        subprocess.run(words, check=True, capture_output=True, input=b"y\n")
        assert not is_good(DATA, Path(f"{file}.sig").read_bytes(), public(ours))


def test_a_key_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path):
    alone = key(tmp_path, "alone")
    alone.unlink()
    assert not is_at_hand(f"{alone}.pub")
    with pytest.raises(Refused, match="No private key found.*; nothing is signed"):
        sign({"a": DATA}, f"{alone}.pub")


def test_a_key_is_at_hand_beside_its_public_half_and_in_the_agent(tmp_path: Path, monkeypatch):
    ours = key(tmp_path, "ours")
    assert is_at_hand(f"{ours}.pub")
    socket = str(tmp_path / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        while subprocess.run(["ssh-add", "-q", str(ours)], capture_output=True).returncode == 2:
            assert agent.poll() is None
        ours.unlink()
        assert is_at_hand(f"{ours}.pub")
        assert is_good(DATA, sign({"a": DATA}, f"{ours}.pub")["a"], public(ours))
    finally:
        agent.terminate()
        agent.wait()
    assert not is_at_hand(f"{ours}.pub")


LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJQTrnlPJ4lL5f19XZXPjxAJV8XW40xDUu/8IwqE9gLb"


def test_public_keys_are_whole_lines_and_nothing_else(tmp_path: Path):
    assert public_keys(f"# ours\n\n{LINE} who made it\n".encode()) == (f"{LINE} who made it",)
    assert len(public_keys(f"{LINE}\n{LINE} again\n".encode())) == 2
    for other in (
        b"",
        b"root:x:0:0\n",
        f'command="sh" {LINE}\n'.encode(),
        f"cert-authority {LINE}\n".encode(),
        f"{LINE}\nand more\n".encode(),
        f"{LINE} \x1b[2J\n".encode(),
        key(tmp_path, "private").read_bytes(),
    ):
        assert public_keys(other) == ()
