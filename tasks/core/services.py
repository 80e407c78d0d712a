"""Services: generated files that belong to a daemon of the server, checked before they are put in place and put back
where the daemon does not take them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .errors import Refused
from .files import write_atomic
from .site import Deploy

FILE = "FILE"  # in a command: the file that is to be put in place


class Service(NamedTuple):
    """A file of a daemon, and the commands that check it and make the daemon read it."""

    path: str  # as the server knows it
    data: bytes
    check: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()


class Daemon(NamedTuple):
    source: str  # below build/configs
    path: str
    check: tuple[str, ...]
    units: tuple[str, str]  # systemd's name of it, on Debian and on EL


EXPORTS = "/etc/exports.d/plugnode.exports"  # exports(5): read besides /etc/exports, which stays the admin's
DAEMONS = {
    "isc": Daemon(
        "dhcpd.conf", "/etc/dhcp/dhcpd.conf", ("dhcpd", "-4", "-q", "-t", "-cf", FILE), ("isc-dhcp-server", "dhcpd")
    ),
    "kea": Daemon(
        "kea-dhcp4.json", "/etc/kea/kea-dhcp4.conf", ("kea-dhcp4", "-t", FILE), ("kea-dhcp4-server", "kea-dhcp4")
    ),
    "dnsmasq": Daemon(
        "dnsmasq.conf", "/etc/dnsmasq.d/plugnode.conf", ("dnsmasq", "--test", "-C", FILE), ("dnsmasq", "dnsmasq")
    ),
}


def wanted(deploy: Deploy, configs: Mapping[str, bytes], is_el: bool = False) -> tuple[Service, ...]:
    """The files that the site wants the server's daemons to have; `configs` as `render_configs` gives them."""
    exports = Service(EXPORTS, configs["exports"], reload=("exportfs", "-ra"))
    daemon = DAEMONS.get(deploy.dhcp)
    if daemon is None:
        return (exports,)
    restart = ("systemctl", "restart", daemon.units[is_el])  # none of them reads its file again on a reload
    return exports, Service(deploy.dhcp_conf or daemon.path, configs[daemon.source], daemon.check, restart)


def is_el(os_release: str = "/etc/os-release") -> bool:
    """Is this machine of the Enterprise Linux family (os-release(5))?"""
    try:
        with open(os_release) as file:
            words = [line.partition("=")[2] for line in file if line.startswith(("ID=", "ID_LIKE="))]
    except FileNotFoundError:
        return False
    return any(word in ("rhel", "fedora") for line in words for word in line.strip().strip('"').split())


def check(service: Service, path: str) -> None:
    """Let the daemon's own checker, where it is installed, read the new file beside its place. Raises Refused."""
    if not service.check or not shutil.which(service.check[0], path=_path()):
        return
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.check")  # AppArmor lets it read only there
    write_atomic(beside, service.data)
    try:
        _run(service.check, beside, f"{service.path} is not changed")
    finally:
        os.unlink(beside)


def install(service: Service, path: str, say: Callable[[str], None]) -> None:
    """Put the file in place and reload its daemon; where that fails the old file is put back. Raises Refused."""
    before = content(path)
    write_atomic(path, service.data, durable=True)
    if not service.reload:
        return
    if not shutil.which(service.reload[0], path=_path()):
        return say(f"{service.path} is written; {service.reload[0]} is not on this machine, so nothing is reloaded")
    try:
        _run(service.reload, path, f"{service.path} is put back")
    except Refused:
        _put_back(path, before)
        subprocess.run(service.reload, capture_output=True, env=_environment(), check=False)
        raise


def _put_back(path: str, before: bytes | None) -> None:
    if before is None:
        os.unlink(path)
    else:
        write_atomic(path, before, durable=True)


def content(path: str) -> bytes | None:
    """The bytes of a file; None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _run(argv: tuple[str, ...], path: str, what: str) -> None:
    try:
        words = [path if word == FILE else word for word in argv]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120, env=_environment())
    except subprocess.TimeoutExpired:
        raise Refused(f"{' '.join(argv)} did not end in 2 minutes; {what}") from None
    if done.returncode:
        said = " | ".join(line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip())
        raise Refused(f"{' '.join(argv)} failed; {what}: {said[-800:]}")


def _path() -> str:
    """Daemons live in sbin, which is not on everybody's path."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _path(), "LC_ALL": "C.UTF-8"}
