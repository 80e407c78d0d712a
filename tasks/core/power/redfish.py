"""Redfish (DMTF DSP0266), by sushy, which knows what makers do otherwise."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import sushy
from sushy import auth, connector, exceptions
from sushy.resources.system.system import System

from ..base.errors import Refused
from ..base.text import readable
from ..site.model import Management
from .bmc import NETWORK, OFF, ON

CONNECT, READ = 10, 20  # seconds
TRIES, PAUSE = 3, 2  # of what it was too busy for, and the seconds between
BUSY = 503
Answer = TypeVar("Answer")

# What makers allow, the best first: a button that is pressed does different things of an on node
RESETS = {
    ON: (sushy.ResetType.ON, sushy.ResetType.FORCE_ON, sushy.ResetType.PUSH_POWER_BUTTON),
    OFF: (sushy.ResetType.FORCE_OFF,),
}
# Of a connection that failed, in the words of urllib3 and Python -> for an admin
CONNECTIONS = (
    (
        "certificate verify failed: (.*?)\\.? \\(_ssl",
        "its certificate is no good: {0}; see ca:",
    ),
    ("doesn't match|not valid for|mismatch", "its certificate is another machine's; see ca:"),
    (r"\[Errno \d+\] ([\w ]+)", "{0}"),
    ("[Tt]imed? ?out", "no answer by Redfish"),
    ("WRONG_VERSION_NUMBER|SSL", "it does not speak TLS there"),
)

for _name in ("sushy", "urllib3", "stevedore"):  # all that they could say comes as an error, too
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class _Direct(connector.Connector):  # type: ignore[misc]
    """Without proxies, .netrc and certificates of this machine's environment."""

    def __init__(self, url: str, verify: bool | str):
        super().__init__(
            url,
            verify=verify,
            server_side_retries=TRIES - 1,
            server_side_retries_delay=PAUSE,
            default_request_timeout=READ,
            connect_timeout=CONNECT,
        )
        self._session.trust_env = False


class Redfish:
    """A BMC, and the one of its systems that is the node."""

    def __init__(self, address: str, management: Management, password: str):
        host = f"[{address}]" if ":" in address else address
        verify = management.verify and (management.ca or True)
        self.auth = auth.SessionOrBasicAuth(management.user, password)
        line = _Direct(f"https://{host}", verify)
        try:
            with in_one_line():
                self.root = sushy.Sushy(f"https://{host}", auth=self.auth, connector=line)
                self.system = self._system(management.system)
        except Refused:
            self.close()
            raise
        self.is_new = True

    def _system(self, name: str | None) -> System:
        paths = self.root.get_system_collection().members_identities
        names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        found = [path for path, own in zip(paths, names) if name in (None, own)]
        if len(found) != 1:
            has = ", ".join(map(readable, names[:4])) + ", …" * (len(names) > 4)
            raise Refused(f"which of its systems is the node? {has or 'none'}; name it: system:")
        return self.root.get_system(found[0])

    def _look(self) -> None:
        """Anew, but for the first time: then it was read just now."""
        if not self.is_new:
            self.system.refresh(force=True)
        self.is_new = False

    def state(self) -> str:
        with in_one_line():
            self._look()
            said = self.system.power_state
        return said.value.lower() if said else "no word of its power"

    def switch(self, to: str) -> None:
        with in_one_line():
            allowed = self.system.get_allowed_reset_system_values()
            how = next((each for each in RESETS[to] if each in allowed), None)
            if how is None:
                words = ", ".join(sorted(each.value for each in allowed))
                raise Refused(f"it cannot be switched {to}; it takes {words}")
            until_not_busy(lambda: self.system.reset_system(how))

    def boot_from_network(self) -> None:
        """By UEFI or by BIOS, as before: some change that when they are told what to boot."""
        with in_one_line():
            self._look()
            before = self._mode()
            self._tell_network()
            self._look()
            if before and self._mode() is not before:
                self._tell_network(before)

    def _mode(self) -> sushy.BootSourceOverrideMode | None:
        boot = self.system.boot
        return boot.mode if boot else None

    def _tell_network(self, mode: sushy.BootSourceOverrideMode | None = None) -> None:
        once = sushy.BootSourceOverrideEnabled.ONCE
        tell = partial(self.system.set_system_boot_options, sushy.BootSource.PXE, once, mode)
        until_not_busy(tell)

    def boots_from(self) -> str:
        with in_one_line():
            self._look()
            boot = self.system.boot
        if not boot or not boot.target:
            return ""
        if boot.enabled is sushy.BootSourceOverrideEnabled.DISABLED:
            return "as its firmware says"
        return NETWORK if boot.target is sushy.BootSource.PXE else str(boot.target.value)

    def console(self) -> dict[str, Any]:
        """Its ways to a serial console (ComputerSystem, SerialConsole), as it says them."""
        said = self.system.json.get("SerialConsole")
        return said if isinstance(said, dict) else {}

    def close(self) -> None:
        with contextlib.suppress(Refused), in_one_line():
            self.auth.close()


def until_not_busy(do: Callable[[], Answer]) -> Answer:
    """Do it again where it was too busy (503), which sushy does of questions alone."""
    for _ in range(TRIES - 1):
        try:
            return do()
        except exceptions.ServerSideError as error:
            if error.status_code != BUSY:
                raise
            time.sleep(PAUSE)
    return do()


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """What sushy raises, and what comes of an answer that is none, as a Refused."""
    try:
        yield
    except exceptions.AccessError as error:
        raise Refused(f"it takes no such user or password ({error.status_code})") from None
    except exceptions.HTTPError as error:
        said = f": {readable(str(error.detail))[:200]}" if error.detail else ""
        raise Refused(f"Redfish error {error.status_code}{said}") from None
    except exceptions.ConnectionError as error:
        raise Refused(explain_connection(str(error))) from None
    except exceptions.SushyError as error:
        raise Refused(f"Redfish: {readable(str(error))[:200]}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused("what it says is no Redfish") from None
    except OSError as error:
        raise Refused(f"cannot be reached: {readable(str(error))[:200]}") from None


def explain_connection(said: str) -> str:
    """One line for an admin, of what urllib3 said."""
    for pattern, meaning in CONNECTIONS:
        if found := re.search(pattern, said):
            return meaning.format(*found.groups())
    return f"cannot be reached: {readable(said)[-100:]}"
