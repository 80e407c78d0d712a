"""The cluster's files that `outputs:` can choose: each one's word, files and places on a server."""

from __future__ import annotations

from typing import NamedTuple


class Output(NamedTuple):
    word: str  # in site.yaml
    # Below build/configs/cluster, each also a template's name; `*` stands for a zone's
    files: tuple[str, ...]
    # Where a deploy may put them: files, and folders that end in a slash
    places: tuple[str, ...]


OUTPUTS = (
    Output("clustershell", ("groups.yaml",), ("/etc/clustershell/",)),
    Output("genders", ("genders",), ("/etc/genders",)),
    Output("ansible", ("ansible.yaml",), ("/etc/ansible/",)),
    Output("slurm", ("slurm.conf", "topology.conf"), ("/etc/slurm/", "/etc/slurm-llnl/")),
    Output("prometheus", ("prometheus.json",), ("/etc/prometheus/", "/var/lib/prometheus/")),
    Output("dns", ("db.*",), ("/etc/bind/", "/var/lib/bind/", "/var/cache/bind/", "/var/named/")),
    Output("conman", ("conman.conf",), ("/etc/conman.conf", "/etc/conman/")),
    Output("powerman", ("powerman.conf",), ("/etc/powerman/",)),
    Output("hosts", ("hosts",), ("/etc/hosts",)),
    Output("dhcp_hosts", ("dhcp_hosts.conf",), ("/etc/dhcp/",)),
    Output("dhcp6_hosts", ("dhcp6_hosts.json",), ("/etc/kea/",)),
    Output("ssh_known_hosts", ("ssh_known_hosts",), ("/etc/ssh/ssh_known_hosts",)),
)
BMC = "bmc"  # the interface by which nodes are managed
OF_BMC = ("conman", "powerman")
CLUSTER = "cluster"  # their folder below build/configs
WORDS = tuple(output.word for output in OUTPUTS)
# The site's own folders, for any of them: nothing that runs looks there by itself
ANYWHERE = ("/srv/", "/opt/", "/usr/local/etc/", "/etc/plugnode/")


def output_of(name: str) -> Output | None:
    """The output that a key of `deploy.files` means: its word, or a file of it."""
    for output in OUTPUTS:
        if name in (output.word, *output.files) or name.startswith("db.") and output.word == "dns":
            return output
    return None


def is_whole(output: Output) -> bool:
    """Whether its word alone says which file is meant."""
    return len(output.files) == 1 and "*" not in output.files[0]


def may_lie(output: Output, path: str) -> bool:
    """Whether a file of it may be put there: root of the boot server writes it."""
    places = (*output.places, *ANYWHERE)
    folders = tuple(place for place in places if place.endswith("/"))
    return path in places or path.startswith(folders)
