"""Stand-ins of EL's packages, and a mirror of them: built and listed here, by rpmbuild and createrepo_c."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import sample_site

needs_dnf = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("dnf", "rpmbuild", "createrepo_c", "rpm"))),
    reason="needs root, dnf, rpm and createrepo-c",
)
KERNEL = "5.14.0-427.el9.x86_64"
SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: stand-in
License: MIT
AutoReqProv: no
Provides: {provides}
%description
x
%install
cp -a {files} %{{buildroot}}
%files
{listed}
"""
Files = Mapping[str, bytes | str]  # by path; a text is a symlink's target


def make_mirror(folder: Path, packages: Mapping[str, Files]) -> Path:
    """A folder that dnf takes packages from; "basesystem" stands for all that a root begins with."""
    for name, files in packages.items():
        for path, held in files.items():
            sample_site.put(folder / name / path, held, 0o755)
        build(folder, name, files)
    subprocess.run(["createrepo_c", "-q", folder / "mirror"], check=True)
    return folder / "mirror"


def build(folder: Path, name: str, files: Files) -> None:
    provides = "/bin/sh bash dnf" if name == "basesystem" else f"{name}-core"
    listed = "\n".join(f"/{path}" for path in files)
    listed = listed.replace("/usr/bin/ping", "%caps(cap_net_raw=ep) /usr/bin/ping")
    text = SPEC.format(name=name, provides=provides, files=f"{folder}/{name}/.", listed=listed)
    spec = folder / f"{name}.spec"
    spec.write_text(text)
    defines = [f"--define=_topdir {folder}/top", f"--define=_rpmdir {folder}/mirror"]
    words = ["rpmbuild", "-bb", *defines, "--define=__os_install_post %{nil}", spec]
    subprocess.run(words, check=True, capture_output=True)
