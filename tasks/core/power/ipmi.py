"""IPMI 2.0, by ipmitool(1): a process for each question; the password in its environment."""

from __future__ import annotations

import os
import re
import subprocess

from ..base.errors import Refused
from ..base.ssh import Meanings, last_of, meaning_of
from ..base.text import readable
from ..site.model import Management
from .bmc import NETWORK, OFF, ON

LIMIT = 60  # seconds for one question
PASSWORD = "IPMI_PASSWORD"  # where ipmitool -E looks
LONGEST = 20  # bytes of a password (IPMI 2.0, 22.30)
NO_SUITES, OLD = "Unable to Get Channel Cipher Suites", 3
PXE = "Force PXE"  # boot parameter 5, as ipmitool tells it
# Boot parameter 3: that no time clears what is said of the next boot (IPMI 2.0, table 28-14)
KEEP_FLAGS = ("raw", "0x00", "0x08", "0x03", "0x08")
ANSWERED = "rsp="  # so ipmitool tells what a BMC refuses; where there was no session it does not
_POWER = re.compile(r"^Chassis Power is (\w+)$", re.MULTILINE)
_SELECTOR = re.compile(r"Boot Device Selector : (.*)")

# What ipmitool -v says -> what it means to an admin, the first that fits
IPMI_MEANINGS: Meanings = (
    (r"RAKP 2 HMAC is invalid", "the password is wrong"),
    (r"unauthorized name", "it has no such user, or not for IPMI"),
    (r"invalid authentication algorithm|[Nn]o matching cipher", "it takes no such cipher suite"),
    (r"insufficient resources", "it has no session left: others hold all of them"),
    (r"(?i)insufficient privilege|privilege level", "the user may not do that"),
    (r"SOL payload already active", "its console is open elsewhere; --take ends that"),
    (r"SOL payload disabled", "its serial console is disabled in the BMC"),
    (r"Get Auth Capabilities error", "no answer by IPMI"),
    (r"Unable to establish", "no session by IPMI: no answer, or another user or cipher suite"),
)


class Ipmi:
    def __init__(self, address: str, management: Management, password: str):
        if len(password.encode()) > LONGEST:
            raise Refused(f"an IPMI password has {LONGEST} bytes at the most")
        self.argv = ["ipmitool", "-v", "-I", "lanplus", "-H", address]
        self.argv += ["-U", management.user or "", "-E", "-N", "1", "-R", "4"]
        self.cipher = management.cipher
        self.environment = {**os.environ, "LC_ALL": "C", PASSWORD: password}
        self.efi = management.efi

    def state(self) -> str:
        found = _POWER.search(self.ask("chassis", "power", "status"))
        return found[1] if found else "no word of its power"

    def switch(self, to: str) -> None:
        self.ask("chassis", "power", {ON: "on", OFF: "off"}[to])

    def boot_from_network(self) -> None:
        """Whenever it starts next: BMCs forget that after a minute, and racks take longer."""
        try:
            self.ask(*KEEP_FLAGS)
        except Refused as error:  # some have no such timer
            if ANSWERED not in str(error):
                raise
        self.ask("chassis", "bootdev", "pxe", *(["options=efiboot"] if self.efi else []))

    def boots_from(self) -> str:
        try:
            said = self.ask("chassis", "bootparam", "get", "5")
        except Refused:  # some cannot
            return ""
        found = _SELECTOR.search(said)
        if found is None:
            return ""
        return NETWORK if found[1].strip() == PXE else readable(found[1])

    def close(self) -> None:
        pass

    def command(self, *words: str) -> list[str]:
        return [*self.argv, *(["-C", str(self.cipher)] if self.cipher else []), *words]

    def ask(self, *words: str) -> str:
        """What it says. Raises Refused."""
        try:
            done = subprocess.run(
                self.command(*words),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                timeout=LIMIT,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            raise Refused("ipmitool is not installed; ./doit installs what is missing") from None
        except subprocess.TimeoutExpired:
            raise Refused(f"no answer by IPMI in {LIMIT} seconds") from None
        if NO_SUITES in done.stdout:
            self.cipher = self.cipher or OLD  # as ipmitool takes it then, after seconds of asking
        if done.returncode:
            raise Refused(explain_ipmi(done.stdout))
        return done.stdout


def explain_ipmi(said: str) -> str:
    """One line for an admin, of what ipmitool said."""
    lines = list(map(readable, said.splitlines()))
    return meaning_of(lines, IPMI_MEANINGS) or f"ipmitool: {last_of(lines)}"
