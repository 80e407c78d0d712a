"""ssh host keys that are kept in the store."""

from __future__ import annotations

import pathlib

import pytest

from tasks.core.base.errors import Refused
from tasks.core.node_secrets.host_keys import make_host_keys, public_host_key
from tasks.core.node_secrets.store import SecretsStore


def test_where_a_key_cannot_be_made_that_is_one_line_and_the_next_one_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    store = SecretsStore(str(tmp_path / "store"))
    store.begin(str(tmp_path / "build"))
    keygen = tmp_path / "bin/ssh-keygen"
    keygen.parent.mkdir()
    keygen.write_text("#!/bin/sh\necho 'Saving key failed: No space left on device' >&2\nexit 1\n")
    keygen.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(keygen.parent))
        with pytest.raises(Refused, match=r"ssh/wn001\.new: ssh-keygen .* No space left on device"):
            make_host_keys(store, ["wn001"])
    assert make_host_keys(store, ["wn001"]) == ["wn001"]
    assert public_host_key(store, "wn001").startswith("ssh-ed25519 ")
    assert make_host_keys(store, ["wn001"]) == []
