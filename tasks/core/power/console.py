"""The serial console of one node, by IPMI's SOL: on this terminal, until Ctrl-]."""

from __future__ import annotations

import contextlib

import pexpect

from ..base.errors import Refused
from .ipmi import Ipmi, explain_ipmi

CTRL_RIGHT_BRACKET = "\x1d"
OPENS = 30  # seconds until the BMC has it open
LEAVE = "Ctrl-] ends it"


class Console:
    """Open it; `interact` gives it the terminal."""

    def __init__(self, bmc: Ipmi, take: bool):
        self.bmc = bmc
        if take:
            self.end()
        # that ipmitool's own escape, ~ at a line's beginning, is in nobody's way
        program, *words = bmc.command("-e", CTRL_RIGHT_BRACKET, "sol", "activate")
        self.line = pexpect.spawn(program, words, env=bmc.environment, timeout=OPENS)
        found = self.line.expect_exact(["SOL Session operational", pexpect.EOF, pexpect.TIMEOUT])
        if found:
            said = _text(self.line.before)
            self.line.close(force=True)
            raise Refused(explain_ipmi(said) if found == 1 else "it does not open its console")
        self.line.expect_exact([b"\n", pexpect.TIMEOUT], timeout=1)  # how ipmitool can be left

    def interact(self) -> bool:
        """Give it the terminal until Ctrl-]; whether it was left so, and not ended by the BMC."""
        try:
            self.line.interact(escape_character=CTRL_RIGHT_BRACKET)
            return bool(self.line.isalive())
        finally:
            self.line.close(force=True)
            self.end()

    def end(self) -> None:
        """Have the BMC give it free; it may be so already."""
        with contextlib.suppress(Refused):
            self.bmc.ask("sol", "deactivate")


def _text(said: str | bytes | None) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def other_ways(said: dict[str, object], address: str, user: str) -> str:
    """Of a BMC that says that it has no SOL: how its console is reached; "" if that may be tried.

    `said`: SerialConsole of its ComputerSystem (Redfish DSP2046).
    """
    if not said or _is_enabled(said.get("IPMI")):
        return ""
    ways = [name for name in ("SSH", "Telnet") if _is_enabled(said.get(name))]
    ssh = said.get("SSH")
    if "SSH" in ways and isinstance(ssh, dict):
        port, enter = ssh.get("Port", 22), ssh.get("ConsoleEntryCommand")
        then = f", then {enter}" if isinstance(enter, str) and enter else ""
        return f"its BMC has it by ssh alone: ssh -p {port} {user}@{address}{then}"
    return f"its BMC has no IPMI console; it says {', '.join(ways) or 'that it has none'}"


def _is_enabled(said: object) -> bool:
    return isinstance(said, dict) and said.get("ServiceEnabled") is not False
