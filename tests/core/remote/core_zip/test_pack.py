"""What servers are sent: made once, and anew where it would be another."""

from __future__ import annotations

import os

from tasks.core.remote.core_zip import pack
from tests.support import sample_site


def test_it_is_made_once_and_anew_where_code_changed_or_a_file_was_cut_off(tmp_path, monkeypatch):
    sample_site.fill(tmp_path, {"a.py": b"a = 1\n"})
    files = {"a.py": str(tmp_path / "a.py")}
    monkeypatch.setattr(pack, "core_files", lambda: files)
    kept = tmp_path / "kept.zip"

    first = pack.core_zip(str(kept))
    made = os.stat(kept).st_ino
    assert pack.core_zip(str(kept)) == first and os.stat(kept).st_ino == made

    kept.write_bytes(first[:-1])
    assert pack.core_zip(str(kept)) == first == kept.read_bytes()

    (tmp_path / "a.py").write_text("a = 234\n")
    second = pack.core_zip(str(kept))
    assert second != first and second == kept.read_bytes()
