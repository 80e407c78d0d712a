"""A reference that is made of a distribution's packages: Debian's by mmdebstrap, EL's by dnf.

No service starts while they are installed. What would make two bootstraps of the same packages
differ, and what would tell one node's secret to all, is removed from the result: FORGOTTEN and
EMPTIED say what, and why.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import shutil
from tempfile import TemporaryDirectory

from ..base.boot_programs import AMD64
from ..base.errors import Refused
from ..base.files import content
from ..base.process import Program, Say, Throttle
from ..base.ssh import last_of, meaning_of
from ..site.model import Image, Reference
from ..unpack.tar import unpack
from . import apt_sources, emulation
from .kind import Facts, ReferenceKind, reference_and_arch
from .snapshot import Snapshot

# 2020-01-01, for what packages write a date into (shadow, the initrd); 0 expires passwords
EPOCH = "1577836800"

# Where rpm of EL has its data base: before and from the release that moved it
DATABASES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
FIRST_SYSIMAGE = 10
FIRST_SQLITE = 9  # whose rpm reads what rpm 4.16 and newer write; before it Berkeley DB

# Below the new tree: pattern -> why it is removed.
FORGOTTEN = {
    "etc/ssh/ssh_host_*": "keys of one node: each makes its own",
    "etc/resolv.conf": "this machine's; DHCP gives a node its own",
    "etc/hostname": "this machine's; a node gets its own",
    "var/lib/systemd/random-seed": "must differ on every node",
    "var/lib/dbus/machine-id": "the same",
    "var/cache/ldconfig/aux-cache": "inode numbers and times",
    "var/cache/apt/*.bin": "made anew by apt",
    "var/cache/dnf": "downloads",
    "var/lib/dnf/history.sqlite*": "times",
    "var/lib/apt/lists/*_*": "made anew by apt",
    "var/lib/dpkg/*-old": "of the state before the last package",
    "var/cache/debconf/*-old": "the same",
    "etc/*-": "the same, of passwd and group",
    "var/log/*.log": "times of this bootstrap",
    "var/log/apt/*": "the same",
    "tmp/*": "left by packages",
    "run/*": "the same",
    "dev/console": "mmdebstrap's is everybody's; a node's kernel makes its own",
}
EMPTIED = {
    "etc/machine-id": "systemd fills an empty one at boot; without one every boot is the first",
}

OF_APT = ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial")

_KEYRING = "install the distribution's keyring (debian-archive-keyring)"

# What apt and dnf say -> what it means; {0}… are filled in, {1} may be missing.
PACKAGE_MEANINGS = (
    (
        r"E: Version '([^']*)' for '([^']*)' was not found",
        "no version {0} of {1} in {suite}; correct `packages`",
    ),
    (
        r"(?:Temporary failure resolving|Could not resolve) '([^']*)'",
        "{0}: its name is not known; is there a network?",
    ),
    (
        r"((?:Could not connect to|Unable to connect to|Connection failed|Cannot initiate).*)",
        "{0}",
    ),
    (
        r"E: The repository '(\S+) (\S+) Release' does not have",
        "no suite {1} at {0}; correct `suite` or `mirror`",
    ),
    (
        r"The following signatures couldn't be verified[^\n]*\s+(NO_PUBKEY \w+)",
        "{0}: " + _KEYRING,
    ),
    (
        r"(E: The repository '[^']*' is not signed)",
        "{0}; " + _KEYRING,
    ),
    (
        r"(You have enabled checking of packages via GPG keys)",
        "no key to check its packages by: name one by gpgkey= in a file of /etc/yum.repos.d, and "
        "leave `mirror` out",
    ),
    (
        r"(No space left on device)",
        "{0} here, in the build folder",
    ),
    (
        r"(E: You don't have enough free space in [^\n]*)",
        "{0}",
    ),
)

_MISSING = (  # a line each, of apt and of dnf
    r"E: Unable to locate package (\S+)",
    r"E: Package '([^']*)' has no installation candidate",
    r"No match for argument: (\S+)",
)
_ERROR = re.compile(r"E: |Error|error: ")
_MACHINERY = re.compile(
    r"E: (?:run_|apt-get |env |chroot |process exited|mmdebstrap)|E: (?:.*) failed: process exited"
)
_STEP = re.compile(
    r"I: (?P<phase>.*?)\.*$|Get:\d+ .* (?P<got>\S+) (?:all|amd64|arm64) "
    r"|(?P<unpack>Unpacking|Setting up) (?P<name>\S+)"
)


def _take(image: Image, snapshot: Snapshot, say: Say) -> Facts:
    """Install the packages into a new tree."""
    reference, tree = image.reference, snapshot.begin()
    count = len(reference.packages)
    say(f"{_describe(reference)}: {count} packages and all that they need: some minutes")
    with snapshot.scratch() as scratch:  # mmdebstrap leaves keyrings in TMPDIR
        if os.geteuid():
            packed = os.path.join(scratch, "root.tar")
            _install_alone(image, unprivileged_command(image, snapshot, packed), say)
            for warning in unpack(packed, tree, snapshot.claims):
                say(f"{_describe(reference)}: {warning}")
        else:
            os.rmdir(tree)  # mmdebstrap makes its own
            command = bootstrap_command(image, snapshot)
            command = [*emulation.confined(image.arch), *command]
            environment = {"TMPDIR": scratch, **_home(image.reference, scratch)}
            _install(image, command, environment, say)
            _tell_database(reference, tree, say)
    tidy(tree)
    apt_sources.say_in_root(tree, reference)
    return _as_of_root(snapshot.claimed())


def _as_of_root(facts: Facts) -> Facts:
    """What came without root, as it comes with it: mmdebstrap then leaves apt's folders root's."""
    claims = facts.get("claims", {})
    for path in OF_APT:
        if path in claims:
            mode, _, _, *rest = claims[path]
            claims[path] = [mode, 0, 0, *rest]
    return facts


def _install_alone(image: Image, command: list[str], say: Say) -> None:
    """The same by an ordinary user, whose subordinate ids must be able to enter TMPDIR."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        _install(image, command, {"TMPDIR": folder}, say)


def _install(image: Image, command: list[str], environment: dict[str, str], say: Say) -> None:
    """Run what installs the packages. Raises Refused."""
    fixed = {"SOURCE_DATE_EPOCH": EPOCH, "DEBIAN_FRONTEND": "noninteractive"}
    program = Program(command, environment={**fixed, **environment}, ending="KILL")
    words = _listen(program, image.reference, say)
    if program.status:
        reason = explain_packages(image.reference, words)
        raise Refused(f"{image.name}: {_describe(image.reference)}: {reason}")


def unprivileged_command(image: Image, snapshot: Snapshot, packed: str) -> list[str]:
    """mmdebstrap's words for an ordinary user, who cannot keep what comes but as an archive.

    It runs in a user namespace, where packages' scripts are root of this user's subordinate ids.
    Raises Refused where he has none, or for EL.
    """
    reference = image.reference
    user = pwd.getpwuid(os.geteuid()).pw_name
    if _of_el(reference) or not _has_subordinate_ids(user):
        remedy = f"run ./doit as root, or give {user} subordinate ids (usermod --add-subuids)"
        if _of_el(reference):
            remedy = "run ./doit as root"
        raise Refused(f"{image.name}: {_describe(reference)} takes more users than one: {remedy}")
    if not emulation.is_runnable(image.arch):
        raise Refused(f"{image.name}: {_describe(reference)} takes root here: run ./doit as root")
    words = ["--verbose", "--mode=unshare", "--variant=minbase", "--format=tar"]
    include = "--include=" + ",".join(reference.packages)
    words += _architecture(image)
    mirror = _sources(reference, snapshot)
    return ["mmdebstrap", *words, include, reference.suite, packed, *mirror]


def _has_subordinate_ids(user: str) -> bool:
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = (content(path) or b"").decode(errors="replace").splitlines()
        if not any(line.startswith((f"{user}:", f"{os.geteuid()}:")) for line in lines):
            return False
    return True


def bootstrap_command(image: Image, snapshot: Snapshot) -> list[str]:
    """mmdebstrap's or dnf's words. Raises Refused for EL of other processors than a PC's."""
    reference = image.reference
    if image.arch != AMD64 and _of_el(reference):
        remedy = "take a node or a container's image of that, by rsync or oci"
        raise Refused(f"{image.name}: {_describe(reference)} is for {AMD64} alone: {remedy}")
    if release := _of_el(reference):
        return _dnf(reference, release, snapshot.incoming)
    return [
        *("mmdebstrap", "--verbose", "--mode=root", "--variant=minbase", "--format=directory"),
        *_architecture(image),
        "--include=" + ",".join(reference.packages),
        *(reference.suite, snapshot.incoming),
        *_sources(reference, snapshot),
    ]


def _architecture(image: Image) -> list[str]:
    """mmdebstrap's word for packages of other processors than this machine's."""
    return [f"--architectures={image.arch}"] if image.arch != emulation.native() else []


def _of_el(reference: Reference) -> str:
    """The release of EL that a suite is, as a number; "" for one of Debian."""
    found = re.fullmatch(r"(?:el)?(\d+)", reference.suite)
    return found[1] if found else ""


def _home(reference: Reference, folder: str) -> dict[str, str]:
    """A home whose macros say where the release's rpm has its data base.

    Debian's rpm has it in the home of who calls it, inside the new root: `rpm -qa` on a node would
    find nothing.
    """
    release = _of_el(reference)
    if not release:
        return {}
    place = DATABASES[int(release) >= FIRST_SYSIMAGE]
    with open(os.path.join(folder, ".rpmmacros"), "w", encoding="utf-8") as macros:
        macros.write(f"%_dbpath {place}\n")
    return {"HOME": folder}


def _tell_database(reference: Reference, tree: str, say: Say) -> None:
    """Say where this machine's rpm has written what the release's own cannot read."""
    release = _of_el(reference)
    written = os.path.join(tree, DATABASES[0][1:], "rpmdb.sqlite")
    if release and int(release) < FIRST_SQLITE and os.path.exists(written):
        say(
            f"{_describe(reference)}: its rpm will not know its packages: this machine's keeps "
            f"them in sqlite, which EL {release} cannot read; where nodes need `rpm -q`, take a "
            "container's image or a node of that release as the reference"
        )


def _dnf(reference: Reference, release: str, tree: str) -> list[str]:
    mirror = []
    if reference.mirror:
        mirror = [f"--repofrompath=plugnode,{reference.mirror}", "--repo=plugnode"]
        if reference.mirror.startswith("file:"):  # this machine's own, as a folder is
            mirror.append("--setopt=plugnode.gpgcheck=0")
    options = ["install_weak_deps=False", "tsflags=nodocs", "keepcache=False"]
    return [
        *("dnf", "-y", f"--installroot={tree}", f"--releasever={release}"),
        *(f"--setopt={option}" for option in options),
        *mirror,
        *("install", "basesystem", "bash", "dnf", *reference.packages),
    ]


def _sources(reference: Reference, snapshot: Snapshot) -> list[str]:
    """Where Debian's packages come from, as words for mmdebstrap; none: it knows itself."""
    if reference.mirror:
        return [reference.mirror]
    text = apt_sources.own_sources(reference.suite, *apt_sources.SOURCES)
    if not text:
        return []
    path = os.path.join(snapshot.folder, "sources.list")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return [path]


def _listen(program: Program, reference: Reference, say: Say) -> list[str]:
    """What it said, while an admin hears where it is."""
    tell = Throttle(say)
    words = []
    packages = 0
    for line in program.lines():
        words.append(line)
        step = _STEP.match(line)
        if step:
            packages += bool(step["unpack"])
            steps = f" ({packages} steps)" if packages else ""
            tell(f"{reference.suite}: {_step(step)}{steps}")
    return words


def _step(step: re.Match[str]) -> str:
    """What is being done, in a few words."""
    if step["phase"]:
        return step["phase"]
    if step["got"]:
        return f"downloading {step['got']}"
    return f"{step['unpack'].lower()} {step['name']}"


def explain_packages(reference: Reference, words: list[str]) -> str:
    """One line for an admin: why there is no tree, in their own words where we have none."""
    missing = _missing(words)
    if missing:
        names = ", ".join(missing)
        return f"no package {names} in {reference.suite}; correct `packages`"
    meaning = meaning_of(words, PACKAGE_MEANINGS, suite=reference.suite)
    if meaning:
        return meaning
    for line in words:
        if _ERROR.match(line) and not _MACHINERY.match(line):
            return line
    return last_of(words)


def _missing(words: list[str]) -> list[str]:
    """All packages that there are not, for each try takes a minute."""
    text = "\n".join(words)
    names: list[str] = []
    for pattern in _MISSING:
        names += re.findall(pattern, text)
    return list(dict.fromkeys(names))


def tidy(tree: str) -> None:
    """Remove what FORGOTTEN names, and empty what EMPTIED names; links are never followed."""
    for pattern in FORGOTTEN:
        for path in glob.glob(os.path.join(glob.escape(tree), pattern), include_hidden=True):
            if _inside(tree, path):
                _remove(path)
    for name in EMPTIED:
        path = os.path.join(tree, name)
        if _inside(tree, path) and os.path.isfile(path) and not os.path.islink(path):
            os.truncate(path, 0)


def _inside(tree: str, path: str) -> bool:
    """Whether the folder that holds `path` is really in the tree."""
    return os.path.realpath(os.path.dirname(path)).startswith(os.path.realpath(tree))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _describe(reference: Reference) -> str:
    return f"bootstrap of {reference.suite}"


def _label(reference: Reference) -> str:
    return f"{_describe(reference)}, {len(reference.packages)} packages named"


KIND = ReferenceKind(
    "bootstrap",
    describe=_describe,
    label=_label,
    take=_take,
    identity=reference_and_arch,
)
