"""Hooks of a distribution's initrd: a release brings its own; one of before gets them with site data."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.config import boot_files
from tasks.core.config.boot_files import BootLabel, initrds_of, render_boot
from tasks.core.deploy import rollback
from tasks.core.desired.build import site_id
from tasks.core.initrd.distribution import hooks_img
from tasks.core.inspect import verify
from tasks.core.plan.state import BuiltRelease
from tasks.core.site.load import read_site
from tasks.core.release import HOOKED, Release, id_of, parse_release
from tasks.core.store.paths import Targets
from tests.support import deploy_kit as kit
from tests.support.commands import REPOSITORY

HOOKS = hooks_img()
SITE = read_site(str(REPOSITORY / "tests/golden/two-nodes/site.yaml"), ())[0]


def of_distribution(built: BuiltRelease, hooks: bytes = b"", kind: str = "dracut") -> BuiltRelease:
    """The same release with an initrd of dracut's; without hooks it is of before."""
    folder, digest = pathlib.Path(built.folder), ""
    if hooks:
        (folder / "hooks.img").write_bytes(hooks)
        digest = kit.hashlib.sha256(hooks).hexdigest()
    release = built.release._replace(network_root=kind, hooks=digest)
    release = release._replace(id=id_of(release))
    (folder / "release.json").write_bytes(release.dump())
    return dataclasses.replace(built, release=release)


@pytest.fixture
def targets(tmp_path) -> Targets:
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"))


def names_in(targets: Targets, folder: str) -> set[str]:
    return set(os.listdir(targets.boot(folder)))


def back_to(targets: Targets, release: Release) -> str:
    """Roll back to it: what its nodes load then."""

    def render(wanted: Release, site: str) -> dict[str, bytes]:
        initrds = ",".join(initrds_of(SITE, wanted, site))
        text = f"{wanted.id}/vmlinuz {initrds} \n".encode()
        return {f"plugnode/worker.{kind}": text for kind in ("cfg", "grub", "ipxe")}

    choice = rollback.RollbackChoice(("worker",), release=release.id)
    rollback.rollback_server(targets, choice, render, kit.AUTHOR)
    return pathlib.Path(targets.served("plugnode/worker.cfg")).read_text().split()[1]


def test_release_json_says_that_there_is_one_and_an_id_is_named_by_it(tmp_path):
    plain = kit.build(tmp_path, files=3)
    mine = of_distribution(plain, HOOKS).release
    assert parse_release(mine.dump()) == mine and mine.id != plain.release.id
    assert mine.boot_files["hooks.img"] == mine.hooks and not mine.wants_hooks
    before = of_distribution(plain).release
    assert before.id == plain.release.id and before.wants_hooks
    assert b"hooks" not in before.dump()  # it is the same file to the byte, and so is its signature
    assert not plain.release.wants_hooks


@pytest.mark.parametrize("kind", HOOKED)
def test_a_release_is_published_with_its_own_and_site_data_without(tmp_path, targets, kind):
    built = of_distribution(kit.build(tmp_path, files=3), HOOKS, kind)
    kit.run(targets, kit.want(built, hooks_img=HOOKS))
    assert names_in(targets, built.release.id) == {"vmlinuz", "initrd.img", "hooks.img"}
    assert names_in(targets, site_id(b"site data 1")) == {"site.img"}
    assert kit.run(targets, kit.want(built, hooks_img=HOOKS)).changed is False
    place = pathlib.Path(targets.boot(built.release.id), "hooks.img")
    for harm in (lambda: place.write_bytes(b"x"), place.unlink):
        harm()
        assert [each.path for each in verify.of_server(targets)] == [
            f"/tftpboot/{built.release.id}/hooks.img"
        ]
        kit.run(targets, kit.want(built, hooks_img=HOOKS))
        assert place.read_bytes() == HOOKS and not list(verify.of_server(targets))


def test_while_a_server_holds_one_of_before_site_data_has_them_beside(tmp_path, targets):
    old = of_distribution(kit.build(tmp_path / "old", files=3))
    kit.run(targets, kit.want(old, site_img=b"site data 1"))
    new = of_distribution(kit.build(tmp_path / "new", files=3, kernel=b"new"), HOOKS)
    wanted = kit.want(new, site_img=b"site data 2", hooks_img=HOOKS)
    kit.run(targets, wanted)
    site = site_id(b"site data 2")
    assert names_in(targets, site) == {"site.img", "hooks.img"}
    assert kit.run(targets, wanted).changed is False
    loads = back_to(targets, old.release)
    assert loads == f"{old.release.id}/initrd.img,{site}/site.img,{site}/hooks.img"
    pathlib.Path(targets.boot(site), "hooks.img").unlink()
    (found,) = verify.of_server(targets)
    assert found.path == f"/tftpboot/{site}/hooks.img" and "names it" in found.what


def test_back_to_one_of_before_with_site_data_of_before(tmp_path, targets):
    """What an earlier version deployed last: its site.img has them inside."""
    old = of_distribution(kit.build(tmp_path / "old", files=3))
    new = of_distribution(kit.build(tmp_path / "new", files=3, kernel=b"new"))
    for built in (old, new):
        kit.run(targets, kit.want(built, site_img=HOOKS))
    site = site_id(HOOKS)
    assert back_to(targets, old.release).endswith(f",{site}/site.img,{site}/hooks.img")
    assert pathlib.Path(targets.boot(site), "hooks.img").read_bytes() == HOOKS


def test_a_template_of_before_that_would_leave_them_out_is_refused(tmp_path):
    release = of_distribution(kit.build(tmp_path, files=3), HOOKS).release
    (tmp_path / "image.cfg").write_text("INITRD {{ release }}/initrd.img,{{ site_id }}/site.img\n")
    label = BootLabel("worker", release, "site-0b1c2d3e4f50")
    with pytest.raises(BadInput, match="templates/image.cfg:1:1: does not load .*/hooks.img; have"):
        render_boot(SITE, SITE.servers[0], label, (str(tmp_path), boot_files.TEMPLATES))
