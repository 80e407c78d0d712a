"""Signed releases as an admin meets them: who builds need have no key, and nothing else is deployed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.archive import cpio
from tasks.core.tree.model import read_content
from tasks.core.trust.signatures import by_signer
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit

UNSIGNED = "not signed by a key of `trust:`"


class Signed:
    """A site that trusts a key, which lies where only who signs has it."""

    def __init__(self, folder: Path):
        self.doit, self.folder, self.dest = Doit(folder), folder, folder / "dest"
        self.private = {name: self.key(name) for name in ("first", "second", "stranger")}
        self.reference = sample_site.reference(folder / "reference", files=20)
        self.trust("first")

    def key(self, name: str) -> Path:
        file = self.folder / "private" / name
        file.parent.mkdir(exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        (self.folder / f"{name}.pub").write_bytes(Path(f"{file}.pub").read_bytes())
        return file

    def trust(self, *names: str, cmdline: str = "console=ttyS0", hosts: str = "{}") -> None:
        sample_site.write(self.doit.site, self.reference, cmdline=cmdline)
        with self.doit.site.open("a") as file:
            file.write(f"hosts: {hosts}\n")
        if names:
            keys = ", ".join(f"{name}.pub" for name in names)
            with self.doit.site.open("a") as file:
                file.write(f"trust: {{key: [{keys}]}}\n")

    def __call__(self, *words: str, status: int = 0) -> str:
        signs = () if words[0] == "sign" else (f"destdir={self.dest}",)
        return self.doit(*words, *signs, status=status)

    def deploy(self, by: str) -> str:
        return self("deploy", f"key={self.private[by]}")

    @property
    def release(self) -> str:
        return json.loads((self.doit.build / "worker/release.json").read_text())["id"]

    @property
    def signatures(self) -> list[bytes]:
        """Of site data that boot files name."""
        text = (self.dest / "tftpboot/plugnode/worker.cfg").read_text()
        names = set(re.findall(r"site-\w{12}", text))
        return [(self.kept / f"{name}.sig").read_bytes() for name in names]

    @property
    def kept(self) -> Path:
        return self.dest / "opt/nfs_export/.plugnode"

    def outputs(self) -> dict[str, bytes]:
        """What a build makes, for whoever reads it."""
        files = [path for path in self.doit.build.rglob("*") if path.is_file()]
        shown = [path.relative_to(self.doit.build) for path in files]
        kept = [path for path in shown if not path.parts[0].startswith(".")]
        return {str(path): (self.doit.build / path).read_bytes() for path in kept}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Signed]:
    yield Signed(tmp_path_factory.mktemp("signed"))


def by_hand(data: Path, signature: Path, key: Path) -> bool:
    """What ssh-keygen says, as somebody without Plugnode would ask it."""
    known = data.parent / "known"
    known.write_text(f"anybody {Path(f'{key}.pub').read_text()}")
    words = ["-Y", "verify", "-f", known, "-I", "anybody", "-n", "plugnode", "-s", signature]
    done = subprocess.run(["ssh-keygen", *words], input=data.read_bytes(), capture_output=True)
    known.unlink()
    return done.returncode == 0


def test_nothing_that_is_not_signed_is_deployed_and_a_build_is_the_same_without_a_key(site):
    site.doit()
    without = site.outputs()
    refused = site("plan", status=1)
    assert f"{site.release}: {UNSIGNED}; ./doit sign where that key is" in refused
    assert UNSIGNED in site("deploy", status=1)
    assert not list(site.dest.rglob("vmlinuz")) and not list(site.dest.rglob("*.json"))
    assert "no private key here" in site("sign", status=1)
    strange = site("sign", f"key={site.private['stranger']}", status=1)
    assert "`trust:` names another key" in strange
    assert f"signed {site.release}\n" in site("sign", f"key={site.private['first']}")
    assert site("sign") == "nothing to sign\n"
    after = site.outputs()
    del without["report.html"]  # it shows the plan
    assert {path: after[path] for path in without} == without


def test_what_is_deployed_has_signatures_that_anybody_can_check(site):
    assert "Signatures\n  + site-" in site("plan")
    site("deploy")
    assert site("deploy") == site("plan") == "no changes\n"
    kept, tftp = site.kept, site.dest / "tftpboot"
    first = site.private["first"]
    assert by_hand(kept / f"{site.release}.json", kept / f"{site.release}.sig", first)
    (image,) = tftp.glob("site-*/site.img")
    assert by_hand(image, kept / f"{image.parent.name}.sig", first)
    assert "ok" in site("verify")


def test_nodes_load_site_data_with_its_signature_and_the_release_says_whose_they_take(site):
    told = json.loads((site.doit.build / "worker/release.json").read_text())
    words = ["ssh-keygen", "-l", "-f", site.folder / "first.pub"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told["keys"] == shown.split()[1]
    tftp = site.dest / "tftpboot"
    (folder,) = tftp.glob("site-*")
    assert f"{folder.name}/signed.img\n" in (tftp / "plugnode/worker.cfg").read_text()
    signature = (site.kept / f"{folder.name}.sig").read_bytes()
    assert (folder / "site.img.sig").read_bytes() == signature
    inside = cpio.read_image((folder / "signed.img").read_bytes(), "signed.img").tree
    for name in ("site.img", "site.img.sig"):
        held = read_content(inside[f"plugnode/signed/{name}".encode()])
        assert held == (folder / name).read_bytes()
    good = (folder / "signed.img").read_bytes()
    (folder / "signed.img").write_bytes(b"another")
    site("deploy")
    assert (folder / "signed.img").read_bytes() == good and site("plan") == "no changes\n"


def test_what_a_server_has_that_nobody_signed_is_found_and_signed_anew(site):
    file = site.kept / f"{site.release}.sig"
    good = file.read_bytes()
    for bad in (b"", b"junk\n", good.replace(b"U1NI", b"U1NJ"), None):
        file.unlink() if bad is None else file.write_bytes(bad)
        assert f"{site.release}.json: {UNSIGNED}" in site("verify", status=1)
    assert f"Signatures\n  + {site.release}\n" in site("deploy")
    assert file.read_bytes() == good
    assert "ok" in site("verify")


def test_keys_change_one_after_the_other(site):
    """Both are named until all that servers hold is signed by the new one, or is gone."""
    before = site.release
    site.trust("second", "first", cmdline="console=ttyS0 second", hosts="{nas: 10.1.1.1}")
    site.deploy("second")
    assert "ok" in site("verify") and site.release != before
    refused = site("rollback", status=1)
    assert f"{before} takes no site data but what SHA256:" in refused
    assert "nothing was changed" in refused
    site("sign", f"key={site.private['first']}")
    site("deploy")
    (signature,) = site.signatures
    assert len(by_signer(signature)) == 2
    site("rollback")
    site("deploy", "--again")

    more = {"hosts": "{nas: 10.1.1.1}"}
    site.trust("second", cmdline="console=ttyS0 second", **more)
    assert f"{before}.json: {UNSIGNED}" in site("verify", status=1)
    assert f"{before}: {UNSIGNED}" in site("rollback", status=1)
    assert site.release in (site.dest / "tftpboot/plugnode/worker.cfg").read_text()

    site.trust("second", cmdline="console=ttyS0")  # as the first: but it carries another key
    assert UNSIGNED in site("deploy", status=1)
    site.deploy("second")
    assert site.release != before
    assert site("verify", status=1).count(UNSIGNED) == 1  # until it is pruned


def test_what_nodes_are_pinned_to_must_be_signed_too(site):
    site.trust("second", cmdline="console=ttyS0 third")
    pinned = site.release
    text = site.doit.site.read_text()
    site.doit.site.write_text(
        text.replace("ip: 172.24.10.10}", f"ip: 172.24.10.10, release: {pinned}}}")
    )
    signature = site.kept / f"{pinned}.sig"
    good = signature.read_bytes()
    signature.write_bytes(b"")
    refused = site("deploy", f"key={site.private['second']}", status=1)
    assert f"ERROR: {pinned}: {UNSIGNED}" in refused
    signature.write_bytes(good)
    site.deploy("second")


def test_what_prune_removes_leaves_no_signature(site):
    site.trust("second", cmdline="console=ttyS0 third")
    with site.doit.site.open("a") as file:
        file.write("deploy: {keep: 1, keep_days: 0}\n")
    site.deploy("second")
    site("prune")
    held = {path.name for path in site.dest.glob("tftpboot/*-????????????")}
    assert {path.stem for path in site.kept.glob("*.sig")} == held
    assert "ok" in site("verify")


def test_roots_and_what_is_kept_stand_below_folders_that_no_local_user_can_enter(site):
    for folder in (site.doit.build / "worker", site.kept.parent, site.kept):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
    site.kept.chmod(0o755)  # as an earlier version made it
    site("deploy")
    assert site.kept.stat().st_mode & 0o777 == 0o700


def test_each_claim_of_the_page_on_security_names_what_there_is():
    page = (REPOSITORY / "docs/security.md").read_text()
    text, _, table = page.partition("## Where it was seen")
    proved = set(re.findall(r"\[([^]]+)\](?=[^|]*\|[^|]*(?:`tests|the manual))", table))
    claimed = set(re.findall(r"\[([a-z ()0-9A-Z]+)\](?!\()", text))
    cited = {name for name in claimed if name.startswith("RFC ")}
    assert claimed - cited <= proved, claimed - cited - proved
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", table):
        assert f"def {name}" in (REPOSITORY / path).read_text()


def test_without_trust_there_is_nothing_to_sign(site):
    site.trust()
    assert "site.yaml:1:1: no `trust:`, so nothing is signed" in site("sign", status=3)
    for command in ("plan", "deploy"):
        refused = site(command, f"key={site.private['first']}", status=3)
        assert "the site has no `trust:`, so nothing is signed" in refused
    site("deploy")
