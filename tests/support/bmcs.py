"""BMCs without metal, in a namespace: sushy-tools' Redfish emulator with its fake driver, and OpenIPMI's ipmi_sim.

One process is the Redfish of all addresses of the namespace; each address has one system. What is wrong with one says
`faults.json`, which is read anew at every request.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from tests.support.commands import REPOSITORY
from tests.support.netns import WITH_US, Lan, run, until

USER, PASSWORD = "admin", "calvin&hobbes"
MC = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n"
LAN = """\
name "{name}"
set_working_mc 0x20
  startlan 1
    addr {address} 623
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  {chassis}
  {sol}
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
CHASSIS = """\
#!/bin/sh
cd "$(dirname "$0")" && shift
case "$1 $2" in
    "get power") echo "power:$(cat power 2>/dev/null || echo 0)" ;;
    "get boot") echo "boot:$(cat boot 2>/dev/null || echo default)" ;;
    "set power") echo "$3" >>told; [ -e lies ] || echo "$3" >power; [ ! -x "on$3" ] || "./on$3" ;;
    "set boot") [ -e lies ] || echo "$3" >boot ;;
esac
"""


class Redfish:
    """The emulator, as a process of the lan's namespace."""

    def __init__(self, net: Lan, folder: pathlib.Path, addresses: list[str]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "addresses.json").write_text(json.dumps(addresses))
        self.faults()
        names = ",".join(f"IP:{address}" for address in addresses[:40])
        run(*"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=bmc".split(), "-addext",
            f"subjectAltName={names}", "-keyout", folder / "key.pem", "-out", folder / "cert.pem")  # fmt: skip
        hashed = run("htpasswd", "-nbBC", "4", USER, PASSWORD)
        (folder / "htpasswd").write_text(hashed.strip() + "\n")
        argv = net.inside("env", "-C", REPOSITORY, sys.executable, "-m", __name__, folder)
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen([*WITH_US, *argv], stdout=log, stderr=log)
        until(lambda: (folder / "ready").exists())

    def faults(self, **of: str) -> None:
        """What is wrong with BMCs: the last number of an address behind a _, and a word."""
        made = {number[1:]: fault for number, fault in of.items()}
        part = self.folder / "faults.part"
        part.write_text(json.dumps(made))
        part.rename(self.folder / "faults.json")

    def asked(self) -> list[str]:
        """`METHOD path address` of requests, in order."""
        return (self.folder / "asked").read_text().splitlines()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class IpmiSim:
    """A BMC by IPMI. `chassis`: its line of lan.conf that starts what is switched, if not a file."""

    def __init__(
        self, net: Lan, folder: pathlib.Path, address: str, chassis: str = "", sol: str = ""
    ):
        self.folder = folder
        (folder / "state").mkdir(parents=True, exist_ok=True)
        (folder / "chassis").write_text(CHASSIS)
        (folder / "chassis").chmod(0o755)
        words = {
            "name": folder.name,
            "address": address,
            "user": USER,
            "password": PASSWORD,
            "chassis": chassis or f'chassis_control "{folder}/chassis 0x20"',
            "sol": sol and f'sol "{sol}" 115200',
        }
        (folder / "lan.conf").write_text(LAN.format(**words))
        (folder / "bmc.emu").write_text(MC)
        argv = net.inside(
            "ipmi_sim",
            "-c",
            folder / "lan.conf",
            "-f",
            folder / "bmc.emu",
            "-s",
            folder / "state",
            "-n",
            "-d",
        )
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [*WITH_US, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: f"{address}:623" in run(*net.inside("ss", "-ulnH")))

    def lies(self, does: bool) -> None:
        (self.folder / "lies").touch() if does else (self.folder / "lies").unlink()

    def does(self, power: int, script: str) -> None:
        """What happens when it is switched so."""
        path = self.folder / f"on{power}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def told(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "told").read_text().split()
        return []

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


LINE = """
import socketserver, sys
class Line(socketserver.BaseRequestHandler):
    def handle(self):
        while said := self.request.recv(100):
            self.request.sendall(said.upper())
socketserver.TCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", 4000), Line)
open(sys.argv[1], "w").close()
server.serve_forever()
"""


class SerialLine:
    """What is behind a console: it says in capitals what is typed."""

    sol = "tcp:127.0.0.1:4000"

    def __init__(self, net: Lan, ready: pathlib.Path):
        self.process = subprocess.Popen([*WITH_US, *net.inside(sys.executable, "-c", LINE, ready)])
        until(ready.exists)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def stopped(*parts) -> Iterator[None]:
    try:
        yield
    finally:
        for part in parts:
            part.stop()


# In the namespace


WITHOUT_SOL = {
    "IPMI": {"ServiceEnabled": False},
    "SSH": {"ServiceEnabled": True, "Port": 2200, "ConsoleEntryCommand": "start /system1/sol1"},
}


def faulty(app: Callable, folder: pathlib.Path, systems: dict[str, str]) -> Callable:
    """The emulator as each address shows it: with one system, and with what is wrong there."""
    from werkzeug.test import run_wsgi_app
    from werkzeug.wrappers import Response

    busy: dict[str, int] = {}

    def answer(environ, start):
        address, method, path = environ["BMC"], environ["REQUEST_METHOD"], environ["PATH_INFO"]
        fault = json.loads((folder / "faults.json").read_text()).get(address.rpartition(".")[2], "")
        with open(folder / "asked", "a") as asked:
            asked.write(f"{method} {path} {address}\n")
        changes = method in ("POST", "PATCH") and "Sessions" not in path
        if fault == "busy" and changes:
            busy[address] = busy.get(address, 0) + 1
        if fault == "bios" and method == "PATCH":
            environ |= by_bios(environ)
        if wrong := wrong_answer(fault, path, changes, busy.get(address, 0)):
            return Response(*wrong, content_type="application/json")(environ, start)
        if path.rstrip("/").endswith("/Systems") and fault != "several":
            members = [{"@odata.id": f"/redfish/v1/Systems/{systems[address]}"}]
            said = {"Members": members, "Members@odata.count": 1, "Name": "Systems"}
            return Response(json.dumps(said), content_type="application/json")(environ, start)
        body, status, headers = run_wsgi_app(app, environ)
        data = b"".join(body)
        if fault == "ssh" and "/Systems/" in path and method == "GET":
            data = json.dumps({**json.loads(data), "SerialConsole": WITHOUT_SOL}).encode()
            headers["Content-Length"] = str(len(data))
        return Response(data, status, headers)(environ, start)

    return answer


def by_bios(environ: dict) -> dict:
    """What is told of the next boot, which is by BIOS where nothing else is said."""
    told = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    told["Boot"] = {"BootSourceOverrideMode": "Legacy", **told["Boot"]}
    data = json.dumps(told).encode()
    return {"wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": str(len(data))}


def wrong_answer(fault: str, path: str, changes: bool, orders: int) -> tuple[str, int] | None:
    """What is said instead of the truth, and its status. `orders`: of a busy one, this one too."""
    if fault == "silent":
        time.sleep(3600)
    if fault == "slow":
        time.sleep(1)
    if fault == "broken" and path.strip("/") != "redfish/v1":
        return "{}", 500
    if fault == "garbage":
        return "<html>login", 200
    if fault == "list":
        return "[1]", 200
    if fault == "lies" and changes:
        return "", 204
    if fault == "busy" and changes and orders % 2:
        return "{}", 503
    return None


class InMemory(dict):
    def make_permanent(self, *_) -> None:
        pass


def serve(folder: pathlib.Path) -> None:
    from sushy_tools.emulator import main, memoize
    from sushy_tools.emulator.resources.systems import fakedriver
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def make_environ(self):
            return {**super().make_environ(), "BMC": self.connection.getsockname()[0]}

        def log(self, *_):
            pass

    addresses = json.loads((folder / "addresses.json").read_text())
    systems = {address: f"aaaaaaaa-0000-0000-0000-{at:012}" for at, address in enumerate(addresses)}
    memoize.PersistentDict = InMemory  # its own is a file of SQLite, opened at each look
    fakedriver.random.randint = lambda least, most: 1  # a power supply takes a second, not eleven
    known = [
        {"uuid": uuid, "name": address, "power_state": "Off", "nics": []}
        for address, uuid in systems.items()
    ]
    config = {
        "SUSHY_EMULATOR_FAKE_DRIVER": True,
        "SUSHY_EMULATOR_FAKE_SYSTEMS": known,
        "SUSHY_EMULATOR_AUTH_FILE": str(folder / "htpasswd"),
        "SUSHY_EMULATOR_STATE_DIR": str(folder),
    }
    app = main.app
    app.configure(extra_config=config)
    shown = faulty(app, folder, systems)
    server = make_server("0.0.0.0", 443, shown, threaded=True, request_handler=Handler)
    server.socket.listen(1024)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    # shaken hands with in the thread of each: a slow one keeps no other waiting
    later = {"server_side": True, "do_handshake_on_connect": False}
    server.socket = context.wrap_socket(server.socket, **later)
    (folder / "ready").touch()
    server.serve_forever()


if __name__ == "__main__":
    serve(pathlib.Path(sys.argv[1]))
