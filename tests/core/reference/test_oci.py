"""Containers' images as references: layers one over the other, pinned, checked, of a folder or a registry."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.reference import kinds, oci
from tasks.core.unpack.layers import unpack_layers
from tasks.core.reference.snapshot import Snapshot
from tasks.core.site.model import Image, Reference
from tests.support.commands import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners of files need root")
DIR, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE


def layer(*entries: tuple) -> bytes:
    """A tar of (name, bytes), (name, DIR) and (name, LINK, target)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, what, *target in entries:
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid = 0o640, 12, 34
            if isinstance(what, bytes) and what not in (DIR, LINK):
                member.size = len(what)
                archive.addfile(member, io.BytesIO(what))
            else:
                member.type, member.linkname = what, "".join(target)
                member.mode = 0o755
                archive.addfile(member)
    return packed.getvalue()


BASE = layer(
    ("etc", DIR), ("etc/a", b"old a"), ("etc/b", b"old b"), ("opt", DIR), ("opt/x", b"x"), ("opt/y", b"y"),
    ("usr", DIR), ("usr/lib", DIR), ("usr/lib/one", b"1"), ("lib", LINK, "usr/lib"), ("var", b"no folder"),
    ("srv", DIR), ("srv/deep", DIR), ("srv/deep/er", b"."), ("alt", LINK, "opt"),
)  # fmt: skip
UPPER = layer(
    ("etc/.wh.a", b""), ("etc/b", b"new b"), ("opt/z", b"mine"), ("opt/.wh..wh..opq", b""), ("lib/two", b"two"),
    ("var", DIR), ("var/log", b"log"), ("srv", b"a file now"), ("alt", DIR), ("alt/own", b"own"),
    ("etc/.wh.never", b""), ("gone/.wh.x", b""),
)  # fmt: skip


def tree_of(folder: pathlib.Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
    return found


MERGED = {
    "etc/b": "new b", "opt/z": "mine", "usr/lib/one": "1", "usr/lib/two": "two", "lib": "-> usr/lib",
    "var/log": "log", "srv": "a file now", "alt/own": "own",
}  # fmt: skip


def blob(layout: pathlib.Path, data: bytes) -> dict:
    digest = hashlib.sha256(data).hexdigest()
    path = layout / "blobs/sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def packed(layout: pathlib.Path, *layers: bytes, tag: str = "9.4", platform: bool = False) -> str:
    """Put an image into a layout; its manifest's digest."""
    layers_there = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            **blob(layout, gzip.compress(each)),
        }
        for each in layers
    ]
    config = {"mediaType": "application/vnd.oci.image.config.v1+json"}
    diffs = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]
    held = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
    config |= blob(layout, json.dumps(held).encode())
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers_there}
    entry = {"mediaType": kind, **blob(layout, json.dumps(manifest).encode())}
    digest = entry["digest"]
    if platform:
        other = entry | {
            "platform": {"os": "linux", "architecture": "arm64"},
            "digest": f"sha256:{'0' * 64}",
        }
        mine = entry | {"platform": {"os": "linux", "architecture": "amd64"}}
        kind = "application/vnd.oci.image.index.v1+json"
        index = {"schemaVersion": 2, "mediaType": kind, "manifests": [other, mine]}
        entry = {"mediaType": kind, **blob(layout, json.dumps(index).encode())}
    path = layout / "index.json"
    known = json.loads(path.read_text())["manifests"] if path.exists() else []
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": [*known, entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return digest


def take(folder: pathlib.Path, said: str) -> tuple[dict | None, list[str], pathlib.Path]:
    """Facts, what was said, and the tree."""
    (folder / "snapshot").mkdir(exist_ok=True)
    snapshot, told = Snapshot(str(folder / "snapshot")), []
    image = Image("worker", Reference("oci", said))
    kind = kinds.kind_of(image.reference)
    facts = kind.take(image, snapshot, told.append)
    return facts, told, pathlib.Path(snapshot.incoming)


def test_layers_hide_replace_and_add_as_the_specification_has_it(tmp_path):
    digest = packed(tmp_path / "layout", BASE, UPPER)
    facts, told, tree = take(tmp_path, f"{tmp_path}/layout")
    assert facts == {"digest": digest}
    assert tree_of(tree) == MERGED
    status = (tree / "etc/b").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, 12, 34)
    lacking = [line for line in told if "as most containers" in line]
    assert len(lacking) == 2 and "linux-image-amd64" in lacking[0] and "systemd-sysv" in lacking[1]


def test_an_index_of_several_platforms_leads_to_ours_and_a_pin_to_its_own(tmp_path):
    first = packed(tmp_path / "layout", BASE, tag="old")
    second = packed(tmp_path / "layout", BASE, UPPER, tag="new", platform=True)
    for name, digest in ((":old", first), (":new", second), (f"@{first}", first)):
        assert take(tmp_path, f"{tmp_path}/layout{name}")[0] == {"digest": digest}
    with pytest.raises(
        BadInput, match=r"2 images are meant \(new, old\); name one: .*:TAG or @sha256"
    ):
        take(tmp_path, f"{tmp_path}/layout")
    with pytest.raises(BadInput, match="0 images are meant"):
        take(tmp_path, f"{tmp_path}/layout:9")


def test_a_layout_of_an_image_for_each_platform_needs_no_index_within(tmp_path):
    """As melange's apko writes it: all of index.json, with one tag or with none."""
    layout = tmp_path / "layout"
    ours, other = packed(layout, BASE), packed(layout, BASE, UPPER)
    index = json.loads((layout / "index.json").read_text())
    for entry, arch in zip(index["manifests"], ("amd64", "arm64"), strict=True):
        entry["platform"] = {"os": "linux", "architecture": arch}
    (layout / "index.json").write_text(json.dumps(index))
    for name in ("", ":9.4"):
        assert take(tmp_path, f"{layout}{name}")[0] == {"digest": ours}
    assert take(tmp_path, f"{layout}@{other}")[0] == {"digest": other}


def test_a_layer_reaches_through_a_link_to_a_folder_of_those_below(tmp_path):
    upper = layer(
        ("lib/.wh.one", b""), ("lib/two", b"2"), ("alt/.wh..wh..opq", b""), ("alt/z", b"z")
    )
    packed(tmp_path / "layout", BASE, upper)
    found = tree_of(take(tmp_path, f"{tmp_path}/layout")[2])
    assert (found["lib"], found["alt"]) == ("-> usr/lib", "-> opt")
    assert {name for name in found if name.startswith(("opt/", "usr/"))} == {"opt/z", "usr/lib/two"}


def test_folders_that_no_entry_brings_are_nobody_elses_to_write(tmp_path):
    packed(tmp_path / "layout", layer(("srv/data/file", b"of an image without folders")))
    tree = take(tmp_path, f"{tmp_path}/layout")[2]
    modes = {(tree / name).stat().st_mode & 0o7777 for name in ("srv", "srv/data")}
    assert modes == {0o755} and (tree / "srv/data/file").stat().st_mode & 0o777 == 0o640


HARMS = {
    "another byte": "is not what its name says; copy the layout anew",
    "cut": "is not of the size that its manifest names",
    "gone": "is missing; copy the whole layout",
}


@pytest.mark.parametrize("how", HARMS)
def test_a_layer_of_other_bytes_is_refused_before_anything_is_unpacked(tmp_path, how):
    packed(tmp_path / "layout", BASE)
    path = max(
        (tmp_path / "layout/blobs/sha256").iterdir(),
        key=lambda path: path.read_bytes()[:2] == b"\x1f\x8b",
    )
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] + (b"" if how == "cut" else b"\xff"))
    with pytest.raises(BadInput, match=HARMS[how]):
        take(tmp_path, f"{tmp_path}/layout")
    assert not (tmp_path / "snapshot/incoming").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"manifests": 7}', '{"manifests": [{"digest": 5}]}']
)
def test_a_folder_that_is_no_layout_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(BadInput):
        take(tmp_path, str(tmp_path))
    with pytest.raises(BadInput, match="is no OCI layout: .*No such file"):
        take(tmp_path, str(tmp_path / "none"))
    with pytest.raises(BadInput, match="is a file, and no OCI layout; .* oci-archive:"):
        take(tmp_path, str(tmp_path / "index.json"))


@pytest.mark.parametrize("name", ["../../evil", "/../evil", ".wh...", "a/../../../evil"])
def test_no_name_leads_out_of_the_tree(tmp_path, name):
    (tmp_path / "canary").write_text("alive")
    (tmp_path / "to").mkdir()
    blobs = []
    for number, data in enumerate((BASE, layer(("l", LINK, "../.."), (name, b"evil")))):
        blobs.append(str(tmp_path / f"{number}.tar"))
        pathlib.Path(blobs[-1]).write_bytes(data)
    with contextlib.suppress(BadInput):
        unpack_layers("image", blobs, str(tmp_path / "to"))
    assert (tmp_path / "canary").read_text() == "alive"
    assert not (tmp_path / "evil").exists() and not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("r.example.org/wn:9.4", ("r.example.org/wn", "9.4", "")),
        ("127.0.0.1:5000/a/b@sha256:" + "0" * 64, ("127.0.0.1:5000/a/b", "", "sha256:" + "0" * 64)),
        (
            "127.0.0.1:5000/a/b:1@sha256:" + "0" * 64,
            ("127.0.0.1:5000/a/b", "1", "sha256:" + "0" * 64),
        ),
        ("/srv/layout:x", ("/srv/layout", "x", "")),
    ],
)
def test_a_name_has_a_place_a_tag_and_a_digest(text, parts):
    assert tuple(oci.parse_name(text)) == parts


REGISTRY = """\
set -eu
ip link set lo up
docker-registry serve "$1/registry.yml" >"$1/registry.log" 2>&1 &
for _ in $(seq 100); do curl -so /dev/null http://127.0.0.1:5000/v2/ && break; sleep 0.1; done
skopeo copy -q "oci:$1/layout:9.4" docker://127.0.0.1:5000/wn:9.4
exec "$2" -c "$3" "$1"
"""
PULL = """\
import json, pathlib, sys
from tasks.core.base.errors import Refused
from tests.core.reference.test_oci import take, tree_of
folder = pathlib.Path(sys.argv[1])
facts, told, tree = take(folder, "127.0.0.1:5000/wn:9.4")
try:
    take(folder, "127.0.0.1:5000/wn:none")
except Refused as error:
    told.append(str(error))
print(json.dumps([facts, told, tree_of(folder / "snapshot/partial") or tree_of(tree)]))
"""


def test_a_registry_gives_the_same_by_skopeo_and_says_what_it_has_not(tmp_path):
    digest = packed(tmp_path / "layout", BASE, UPPER)
    (tmp_path / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error}\nhttp: {addr: '127.0.0.1:5000'}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
    )
    trusting = tmp_path / ".config/containers/registries.conf"
    trusting.parent.mkdir(parents=True)
    trusting.write_text('[[registry]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n')
    python = shutil.which("python", path=str(REPOSITORY / ".venv/bin")) or "python3"
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", REGISTRY, "sh", str(tmp_path), python, PULL],
        cwd=REPOSITORY, env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts, told, tree = json.loads(done.stdout)
    assert facts == {"digest": digest} and tree == MERGED
    assert (
        told[-1].startswith("127.0.0.1:5000/wn:none: skopeo: ") and "manifest unknown" in told[-1]
    )
