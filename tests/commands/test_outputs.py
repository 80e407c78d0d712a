"""Files of the cluster on a server: `outputs:` makes them, `deploy.files` puts them there, as an admin sees it."""

from __future__ import annotations

import re
import shutil

from tests.support.commands import Doit

MORE = """\
outputs: [genders, dns, slurm]
deploy:
  files: {genders: /etc/genders, dns: /etc/bind/zones/, topology.conf: /etc/slurm/topology.conf}
"""


def test_a_deploy_installs_what_is_named_keeps_what_was_there_and_changes_nothing_twice(
    built: Doit,
):
    there = built.folder / "there"
    destdir = f"destdir={there}"
    text = built.site.read_text().replace("10.0/24}", "10.0/24, domain: grid.example.org}")
    built.site.write_text(text + MORE)
    genders = there / "etc/genders"
    genders.parent.mkdir(parents=True)
    genders.write_text("wn001 theirs\n")
    out = built("plan", destdir)
    assert (
        "/etc/genders is not Plugnode's: it is replaced, and kept as genders.before-plugnode" in out
    )
    assert f"+ {'/etc/bind/zones/db.grid.example.org'}" in out, out
    built("deploy", destdir)
    zone = there / "etc/bind/zones/db.grid.example.org"
    first = zone.read_bytes()
    assert genders.read_text().endswith("wn002 image=worker\nwn001 image=worker\n")
    assert (there / "etc/genders.before-plugnode").read_text() == "wn001 theirs\n"
    assert sorted(path.name for path in (there / "etc/slurm").iterdir()) == ["topology.conf"]
    assert (built.build / "configs/cluster/slurm.conf").is_file()
    assert "ok       cluster/genders" in built("check", destdir)

    shutil.rmtree(built.build)  # another machine's build has another serial
    assert built("deploy", destdir).endswith("no changes\n")
    assert zone.read_bytes() == first

    built.site.write_text(built.site.read_text().replace("wn002", "wn003"))
    built("deploy", destdir)
    assert b"wn003 IN A" in zone.read_bytes()
    assert serial(zone.read_bytes()) > serial(first)


def serial(zone: bytes) -> int:
    return int(re.findall(rb"(\d+) ; serial", zone)[0])
