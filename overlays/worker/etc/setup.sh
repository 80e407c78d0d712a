#!/bin/sh
# shellcheck disable=SC2034 # the parts use them
#
# /etc/setup.sh: gives a diskless worker node its own disks and its own name. The same file on every site.
#
# Run once a boot, before anything uses /var: by rc.sysinit after start_udev, or by plugnode-setup.service.
# POSIX sh: dash, bash 3.2 of EL5 and busybox ash run it. What varies is data in /run/plugnode (site.img, the initrd)
# and on the kernel command line: plugnode.wipe=TOKEN (or force:SERIAL), plugnode.fsck=repair, plugnode.wait=SECONDS.
#
# What may destroy data: `provision`, and only after the disk was proved blank or its state sector says CLAIMING.
#   no state sector, all of the first and last MiB zero, no signature -> claim it, provision
#   a state with the mark "~" behind it, and a table or file system of somebody else -> foreign, never written to
#   CLAIMING  (a power cut while provisioning)                         -> provision again
#   COMMITTED (complete)                                               -> check, mount; a new wipe token -> claim it
#   anything else                                                      -> never written to; tmpfs instead
# The state sector is one 512-byte sector in the gap before the first partition, 4 KiB below the first MiB:
#   PLUGNODE1 SITE CLAIMING|COMMITTED TOKENS LAYOUT NODE CRC, of one of several layouts, or of a RAID set:
#   PLUGNODE2 SITE CLAIMING|COMMITTED TOKENS LAYOUT NODE SET ARRAY CRC
set -eu
PATH=/sbin:/usr/sbin:/bin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

ROOT=${ROOT:-} # tests: a folder in place of /
PARTS=${PARTS:-/etc/plugnode}
DATA=$ROOT/run/plugnode
WORK=$DATA/setup
VAR=$ROOT/var
OWN=$VAR/lib/plugnode # what the node must not lose and others must not have
STEP=start

for part in common words data disk holders seen choose pick state arrays fits provision use mount image looks fill wipe memory above identity node_key secrets network interfaces bonds files report; do
  # shellcheck source=/dev/null
  . "$PARTS/$part.sh"
done

enter() { # STAGE: for the report of the boot
  mark "$1" >>"$DATA/stages" || :
}

boot() { # each part in a process of its own: what fails in one leaves the node the others
  : >"$WORK/disk"
  enter setup
  for verb in take_bond keep_network_up name_servers configure_interfaces fill_node_files use_disks fill_gaps give_capabilities name_node forget_other take_secrets own_identity; do
    case $verb in use_disks) enter disk ;; keep_network_up) INTERFACE=$(cat "$DATA/interface" 2>/dev/null || echo "$INTERFACE") ;; name_node) enter name ;; esac
    status=0
    again "$verb" || status=$?
    [ "$status" -ne 9 ] || exit 9 # stopped
    [ "$status" -eq 0 ] || degrade "$verb failed; see /run/plugnode/setup.log"
  done
  enter services
  say "done: $(cat "$ROOT/proc/sys/kernel/hostname"), ${ADDRESS:-no address}," \
    "$(on_one_line <"$WORK/disk" | grep . || echo "no disk")$([ ! -s "$DATA/degraded" ] || echo ", DEGRADED")"
}

main() { # [VERB…]
  trap 'ended $?' EXIT
  [ -d "$WORK" ] || mkdir -p "$WORK" 2>/dev/null || { mount -n -t tmpfs plugnode "$ROOT/run" && mkdir -p "$WORK"; }
  DISK=${2:-} MEMBERS=${MEMBERS:-${2:-}} STATE=none HAS_LAYOUT=- HAS_ARRAY=- HAS_MARK='' TOKENS=- MARK=
  NODES=${NODES:-} # tests: a folder with the partitions' nodes, by number
  [ -n "${KNOWN:-}" ] || read_data
  [ $# -gt 0 ] || set -- boot
  "$@"
}

main "$@"
