"""Roots that are one file, on a server: published whole, mended, compared, gone with their release."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib

import pytest

from tasks.core.base.errors import Refused
from tasks.core.deploy import preflight, prune, rollback
from tasks.core.inspect import verify
from tasks.core.inspect.status import server_status
from tasks.core.plan import decide, text
from tasks.core.plan.actual import read_actual
from tasks.core.plan.as_json import plan_json
from tasks.core.plan.state import BuiltRelease, Desired
from tasks.core.release import id_of
from tasks.core.store import served
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import AUTHOR, boot_files, build, run, want

DAY = 86400


@pytest.fixture
def targets(tmp_path):
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"), "/srv/http")


def of_file(
    folder: pathlib.Path, data: bytes = b"root file" * 9999, kind: str = "ram", **changes
) -> BuiltRelease:
    """A build whose nodes have their root as one file."""
    built = build(folder, files=20, **changes)
    path = pathlib.Path(built.path("root.erofs"))
    path.write_bytes(data)
    path.chmod(0o644)
    release = built.release._replace(
        root_kind=kind,
        root_name="root.erofs",
        root_file=hashlib.sha256(data).hexdigest(),
        root_bytes=len(data),
        verity="0" * 64,
    )
    return BuiltRelease(release._replace(id=id_of(release)), built.folder)


def published(targets: Targets, built: BuiltRelease) -> pathlib.Path:
    return pathlib.Path(served.root_file_of(targets, built.release).path)


def plan_of(targets: Targets, wanted: Desired) -> str:
    actual = read_actual(targets, wanted)
    return text.plan_text(decide.plan(actual, wanted), actual)


def findings(targets: Targets, **how) -> list[str]:
    return list(map(str, verify.of_server(targets, **how)))


@pytest.mark.parametrize(
    ("kind", "place"), [("ram", "srv/http/{}"), ("nfs-file", "opt/nfs_export/{}.file")]
)
def test_it_is_published_beside_the_tree_readable_and_once(targets, tmp_path, kind, place):
    built = of_file(tmp_path / "build", kind=kind)
    wanted = want(built)
    assert f"+ root.erofs (root: {kind}), 87.9 KiB" in plan_of(targets, wanted)
    os.umask(0o077)
    try:
        run(targets, wanted)
    finally:
        os.umask(0o022)
    file = tmp_path / "dest" / place.format(built.release.id) / "root.erofs"
    assert file.read_bytes() == pathlib.Path(built.path("root.erofs")).read_bytes()
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent)] == [0o644, 0o755]
    assert not any(map(os.path.exists, (targets.incoming_http, targets.incoming_roots)))
    assert plan_of(targets, wanted) == "no changes" and not run(targets, wanted).changed
    assert findings(targets) == findings(targets, full=True) == []
    (told,) = server_status(targets, 0)["releases"]
    assert told["root"] == kind


@pytest.mark.parametrize("how", ["another byte", "cut", "gone", "closed"])
def test_what_was_done_to_it_is_found_and_the_next_deploy_mends_it(targets, tmp_path, how):
    built = of_file(tmp_path / "build")
    run(targets, want(built))
    file = published(targets, built)
    whole = file.read_bytes()
    harms = {
        "another byte": lambda: file.write_bytes(b"x" + whole[1:]),
        "cut": lambda: os.truncate(file, 99),
        "gone": file.unlink,
        "closed": lambda: file.chmod(0o600),
    }
    harms[how]()
    (found,) = findings(targets)
    assert found.startswith(f"/srv/http/{built.release.id}/root.erofs: ")
    assert run(targets, want(built)).boots == (built,)
    assert file.read_bytes() == whole and findings(targets) == []


def test_a_build_that_changed_after_its_release_is_not_published(targets, tmp_path):
    built = of_file(tmp_path / "build")
    pathlib.Path(built.path("root.erofs")).write_bytes(b"another" * 9999)
    with pytest.raises(Refused, match="root.erofs is not what the release says; run doit again"):
        run(targets, want(built))
    assert not published(targets, built).parent.exists() and not os.path.exists(
        targets.incoming_http
    )


@pytest.mark.parametrize("kind", ["ram", "nfs-file"])
def test_rollback_goes_back_to_it_and_prune_takes_it_away(targets, tmp_path, kind):
    first = of_file(tmp_path / "1", kind=kind)
    second = of_file(tmp_path / "2", b"another root" * 9999, kind, file1=b"new")
    for built in (first, second):
        run(targets, want(built))

    def render(release, site):
        return boot_files(release, site)

    choice = rollback.RollbackChoice(["worker"], "", "")
    file = published(targets, first)
    file.rename(tmp_path / "aside")
    with pytest.raises(Refused, match=f"/{first.release.id}.*/root.erofs is missing"):
        rollback.rollback_server(targets, choice, render, AUTHOR)
    (tmp_path / "aside").rename(file)
    (back,) = rollback.rollback_server(targets, choice, render, AUTHOR)
    assert back.after == first.release.id
    prune.prune_server(targets, prune.Rules(0, 0, 1e11), AUTHOR)
    assert file.exists() and not published(targets, second).parent.exists()
    assert not any(map(os.path.exists, (targets.incoming_http, targets.incoming_roots)))


def test_from_and_to_a_root_that_is_mounted_the_plan_says_so(targets, tmp_path):
    mounted, fetched = build(tmp_path / "1", files=20), of_file(tmp_path / "2")
    run(targets, want(mounted))
    assert "+ root.erofs (root: ram), 87.9 KiB" in plan_of(targets, want(fetched))
    run(targets, want(fetched))
    elsewhere = build(tmp_path / "3", files=20, kernel=b"new")
    assert "- root.erofs (root: ram); nodes mount their root" in plan_of(targets, want(elsewhere))
    actual = read_actual(targets, want(elsewhere))
    (told,) = plan_json(decide.plan(actual, want(elsewhere)), actual)["boots"]
    assert told["root_kind"] == {"before": "ram", "after": "nfs"}


def test_room_for_it_is_looked_for_where_it_goes(targets, tmp_path):
    built = of_file(tmp_path / "build")
    huge = dataclasses.replace(built, release=built.release._replace(root_bytes=1 << 60))
    actual = read_actual(targets, want(built))
    plan = decide.plan(actual, want(built))
    with pytest.raises(Refused, match="needs [0-9.]+ GiB, .* free; nothing was changed"):
        preflight.check_room_for(dataclasses.replace(plan, boots=(huge,)), actual, want(built))
