"""ssh as it is run everywhere: nothing is asked, nothing is forwarded."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Sequence

VANISHED, TRIES = 24, 3  # rsync's exit status where files went away while they were copied

# ssh_config(5): what the far end could use of this machine, from its agent to its network; commands
ALONE = (
    "ForwardAgent=no",
    "ForwardX11=no",
    "GSSAPIDelegateCredentials=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)
NO_AGENT = ("-a", "-x", "-k")  # for the -A, -X and -K of RSYNC_RSH
PATIENCE = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15")

# What a program says -> what it means to an admin, the first that fits; {host}, {0} are filled in.
Meanings = Iterable[tuple[str, str]]
RSYNC_MEANINGS: Meanings = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known: it was installed anew, or another machine "
        "answers; make sure, then ssh-keygen -R {host}, and log in once",
    ),
    (
        r"Host key verification failed",
        "its host key is not known here: log in once (ssh {host}) and compare it",
    ),
    (
        r"Permission denied \([a-z]|Too many authentication failures",
        "it lets nobody in without a password: give it a key of this user (ssh-copy-id {host})",
    ),
    (
        r"Could not resolve hostname [^:]*: (.*)",
        "its name is not known: {0}",
    ),
    (
        r"(Connection refused|Connection timed out|No route to host|Network is unreachable|"
        r"Connection reset.*|Connection closed.*|Operation timed out|"
        r"Timeout, server .* not responding)",
        "it cannot be reached: {0}",
    ),
    (
        r"rsync: (?:command )?not found|rsync: No such file|exec.*rsync.*not found",
        "it has no rsync: install it there",
    ),
    (
        r"is your shell clean|protocol version mismatch",
        "its login shell says something where only rsync may speak (a greeting in .bashrc, say): "
        "make it silent where there is no terminal",
    ),
    (
        r"(No space left on device)",
        "{0} here, in the build folder",
    ),
    (
        r"change_dir \"([^\"]*)\" .*failed: (.*) \(\d+\)",
        "{0}: {1}",
    ),
)

# Not compiled: a run with nothing to do reads this module, too
_TROUBLE = (
    r'^(?:rsync: .*?"(?P<path>[^"]*)".* failed: (?P<why>.*) \(\d+\)'
    r'|file has vanished: "(?P<gone>[^"]*)")'
)
_UNREAD = r'^rsync: (?:\[\w+\] )?\w+ failed to open "(?P<path>[^"]*)": (?P<why>.*) \(\d+\)'


_PUBLIC_KEY = r"[A-Za-z0-9_.@-]+ AAAA[A-Za-z0-9+/]+=*(?: [ -~]*)?"


def public_keys(data: bytes) -> tuple[str, ...]:
    """The keys of a .pub file, a line each (ssh-keygen(1)); none where it is another file."""
    text = data.decode("ascii", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    return tuple(keys) if all(re.fullmatch(_PUBLIC_KEY, key) for key in keys) else ()


# PROTOCOL.sshsig of OpenSSH: what a key has signed for another purpose is no signature here
NAMESPACE = "plugnode"
SIGNER = "plugnode"  # whoever has the key; ssh-keygen asks for a name


def allowed_signers(keys: Iterable[str]) -> bytes:
    """The keys as ssh-keygen(1) reads those whose signatures are good (ALLOWED SIGNERS)."""
    return "".join(f'{SIGNER} namespaces="{NAMESPACE}" {key}\n' for key in keys).encode()


def fingerprint(blob: bytes) -> str:
    """A public key's name, as ssh-keygen -l shows it: `SHA256:…`. `blob`: the key's bytes."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def fingerprint_of(key: str) -> str:
    """The same of a line of a .pub file."""
    return fingerprint(base64.b64decode(key.split()[1]))


def ssh_command(*options: str) -> list[str]:
    """How to reach a node or a server: ssh, or what RSYNC_RSH says.

    Nothing is asked for, a dead line is noticed, and nothing of this machine is forwarded, whatever
    the configuration of ssh or RSYNC_RSH say. `options` are for ssh, which takes the first that it
    is told of each, but of flags the last.
    """
    import shlex  # not loaded by a run that asks nobody

    program, *words = shlex.split(os.environ.get("RSYNC_RSH") or "ssh")
    if os.path.basename(program) != "ssh":
        return [program, *words]
    first = [f"-o{option}" for option in ALONE]
    last = [f"-o{option}" for option in PATIENCE]
    return [program, *first, *words, *options, *last, *NO_AGENT]


def explain(host: str | None, status: int, words: list[str], first: Meanings = ()) -> str:
    """One line for an admin: what stopped ssh or rsync, and what to do.

    `first`: what its words mean before they mean what they do everywhere.
    """
    if meaning := meaning_of(words, (*first, *RSYNC_MEANINGS), host=host):
        return meaning
    if status in (23, VANISHED):
        return f"{_files(words)}; log in as root there, or `exclude` them"
    return f"{last_of(words)} (exit status {status})"


def meaning_of(words: Iterable[str], meanings: Meanings, **known: str | None) -> str:
    """What a program's words mean to an admin; "" where no meaning fits.

    `known` is filled in by its names.
    """
    text = "\n".join(words)
    for pattern, meaning in meanings:
        if found := re.search(pattern, text):
            return meaning.format(*found.groups(), **known)
    return ""


def last_of(words: Sequence[str]) -> str:
    """The last line that says something."""
    return next((line for line in reversed(words) if line.strip()), "no reason given")


def _files(words: list[str]) -> str:
    """Which files could not be pulled, the first few of them by name."""
    found = [re.match(_UNREAD, line) or re.match(_TROUBLE, line) for line in words]
    files = [_file(match.groupdict()) for match in found if match]
    if not files:
        return words[0] if words else "some files could not be pulled"
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"not pulled: {', '.join(files[:3])}{more}"


def _file(parts: dict[str, str]) -> str:
    if parts.get("gone"):
        return f"{parts['gone']} (vanished)"
    return f"{parts['path']} ({parts['why']})"
