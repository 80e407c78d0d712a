# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what an admin is told of a machine's disks. Read in by /etc/setup.sh.

note_disks() { # for whoever asks the node: DISK MIB SERIAL TRANSPORT, "-" for what it does not say
  every_disk | while read -r disk; do
    serial=$(disk_serial "$disk") transport=$(disk_transport "$disk")
    echo "$disk $(mib_of "$disk") ${serial:--} ${transport:--}"
  done >"$DATA/disks"
}

list_disks() { # every one, with what it is and what would take it
  every_disk | while read -r disk; do
    serial=$(disk_serial "$disk") why=$(unfit "$disk")
    [ -n "$why" ] || why=${serial:+$(way_to_take "$serial")}
    say "disk $disk: $(mib_of "$disk") MiB, serial ${serial:-unknown}, $(disk_transport "$disk"): $(contents "$disk"); $why"
  done
}

way_to_take() { # SERIAL
  if [ -n "$(sharing "$1")" ]; then echo "others have its serial number"; else echo "wipe: force:$1 takes it"; fi
}

contents() { # DISK: a word or two for what is on it
  read_present "$1"
  case $STATE in
  CLAIMING | COMMITTED) echo "ours, $STATE, of $HAS_NODE$(echo ", set $HAS_SET" | grep -v ' -$')" ;;
  other) echo "another site's, of $HAS_NODE" ;;
  *) signature "$1" 2>/dev/null | tr '\n' ' ' | sed 's/ $//' | grep . || echo "nothing known" ;;
  esac
}

signature() { # DISK: blkid's words, or wipefs's where it knows none
  "$(tool blkid)" -p -s TYPE -s PTTYPE -o value "$1" || tag "$1" TYPE | grep . ||
    wipefs -p "$1" | sed '1d; s/.*,//'
}
