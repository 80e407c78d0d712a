"""What site.img holds, and what releases of before need besides to read it.

Every `setup.sh` before canonical host names took the first name of its address in `plugnode/hosts`
for the node's own. Releases that a server still holds go on booting: their boot files load
`names.img` after site.img, and the kernel unpacks one over the other. So do they with `hooks.img`,
where a distribution's initrd needs it and the release has none: site.img brought that, too.
"""

from __future__ import annotations

import os
import re

from .archive import compression, cpio
from .base.errors import BadInput
from .release import HOOKS_IMG

HOSTS = "plugnode/hosts"
SITE = "plugnode/site"  # says which site it is, and its domain
NAMES = "names.img"  # beside site.img
SIGNED, SIGNATURE = "signed.img", "site.img.sig"
HANDOVER = "plugnode/handover"  # of the hooks
# What nodes that run take
OF_NODES = re.compile(r"hosts|nodes|interfaces|facts|site|(layouts|templates)/\w[\w.-]*", re.ASCII)


def files_of(site_img: bytes) -> dict[str, bytes]:
    """Path -> bytes of the files in a site.img; of a damaged one nothing."""
    try:
        tree = cpio.read_image(site_img, "site.img").tree
    except BadInput:
        return {}
    found = {}
    for path, entry in tree.items():
        if entry.data is not None:
            found[os.fsdecode(path)] = entry.data
    return found


def site_of_image(site_img: bytes) -> str:
    """The site whose data that is; "" where that cannot be seen."""
    return value_of("site", files_of(site_img).get(SITE, b""))


def is_of_nodes(name: str) -> bool:
    """Whether a file below `plugnode/` is site data, and no program of an initrd."""
    return bool(OF_NODES.fullmatch(name))


def value_of(name: str, text: bytes) -> str:
    """A value of the file `plugnode/site`; "" where it has none of that name."""
    found = re.search(rf"^{name}=(.*)$".encode(), text, re.MULTILINE)
    return found[1].decode(errors="replace") if found else ""


def signed(site_img: bytes, signature: bytes) -> dict[str, bytes]:
    """The same for nodes that ask for a signature: signed.img has both, as they are.

    Who fetches site data takes them one by one.
    """
    held = {"site.img": site_img, SIGNATURE: signature}
    files = {f"plugnode/signed/{name}": data for name, data in held.items()}
    return {SIGNATURE: signature, SIGNED: compression.gzip(cpio.small_newc(files))}


def hooks_in(site_img: bytes) -> dict[str, bytes]:
    """hooks.img, where a site.img of before has them in it."""
    return {HOOKS_IMG: site_img} if HANDOVER in files_of(site_img) else {}


def beside(site_img: bytes) -> dict[str, bytes]:
    """The files of a server's folder of site data, by name."""
    names = _names_img(files_of(site_img))
    return {"site.img": site_img, NAMES: names} if names else {"site.img": site_img}


def _names_img(files: dict[str, bytes]) -> bytes:
    """An archive of hosts with each node's own name first; b"" for a site without a domain."""
    domain = value_of("domain", files.get(SITE, b""))
    if not domain:
        return b""
    hosts = short_names_first(files.get(HOSTS, b""), domain)
    return compression.gzip(cpio.small_newc({HOSTS: hosts}))


def short_names_first(hosts: bytes, domain: str) -> bytes:
    """hosts(5) with `ADDRESS NAME NAME.DOMAIN …` for each `ADDRESS NAME.DOMAIN NAME …`."""
    line = rf"^(\S+)([ \t]+)(([^\s.]+)\.{re.escape(domain)})([ \t]+)\4(?=\s|$)".encode()
    return re.sub(line, rb"\1\2\4\5\3", hosts, flags=re.MULTILINE)
