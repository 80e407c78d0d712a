#!/bin/sh
# /etc/tell.sh: the last words of a node's boot on its console: who it is, what its root is, what is on its disk.
#
# Run when everything else was started, by plugnode-tell.service or as the last script of a SysV runlevel. `doit boot`
# reads these lines; so does whoever keeps the consoles of a cluster.
set -eu
PATH=/sbin:/usr/sbin:/bin:/usr/bin
LC_ALL=C
export PATH LC_ALL

ROOT=${ROOT:-} # tests: a folder in place of /
DATA=$ROOT/run/plugnode

# shellcheck source=/dev/null
. "${PARTS:-/etc/plugnode}/common.sh"
# shellcheck source=/dev/null
. "${PARTS:-/etc/plugnode}/report.sh"

tell() { # WHAT VALUE…
  echo "plugnode: node: $*" >>"$ROOT/dev/console"
}

fact() { # NAME: what the initrd and setup.sh left of it
  cat "$DATA/$1" 2>/dev/null || echo -
}

mounted() { # FOLDER: DEVICE TYPE ro|rw of what is mounted there
  awk -v folder="$1" '
    $2 == folder { found = $1 " " $3 " " substr($4, 1, 2) }
    END { print found == "" ? "nothing" : found }' "$ROOT/proc/mounts"
}

layout() { # the lines of this node's disk layouts
  file=$DATA/layouts/$(node_field "$DATA/nodes" "$(fact address)" 5)
  cat "$file" "$file"..* 2>/dev/null || :
}

tell_partition() { # MOUNT MIB FS LABEL FILL
  case $1 in /*) ;; *) return 0 ;; esac
  tell "mount $1 $(mounted "$1")"
  [ "$5" = - ] || tell "fill $1 $(filled "$ROOT$1" "$ROOT$5")"
}

filled() { # FOLDER FROM: how many of the names of one the other has
  has=0 all=0
  for path in "$2"/* "$2"/.[!.]*; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    all=$((all + 1))
    name=$1/${path##*/}
    if [ -e "$name" ] || [ -L "$name" ]; then has=$((has + 1)); fi
  done
  echo "$has of $all"
}

tell_above() { # how much has been written above a root that can be, as its file system counts
  case $(mounted /) in *' overlay rw') ;; *) return 0 ;; esac
  tell "above $(df -kP "$ROOT/" | awk 'NR == 2 { print $3 " of " $2 " kB" }')"
}

tell_failed() { # the names of units that have failed; some versions of systemctl put a mark before them
  listed=$(systemctl --failed --no-legend --no-pager) || return 0
  names=$(echo "$listed" | awk 'NF { printf "%s ", ($1 ~ /[.]/ ? $1 : $2) }')
  names=${names% }
  tell "failed ${names:-none}"
}

tell_lockdown() { # what a kernel that Secure Boot has verified refuses afterwards: the word in brackets
  [ ! -r "$ROOT/sys/kernel/security/lockdown" ] ||
    tell "lockdown $(sed 's/.*\[//; s/\].*//' "$ROOT/sys/kernel/security/lockdown")"
}

main() {
  trap 'report ready || :; tell "ready $(seconds) s"' EXIT
  tell "name $(uname -n)"
  tell "address $(address_of "$(fact interface)") $(fact interface)"
  tell "release $(fact release)"
  tell "mount / $(mounted /)"
  [ ! -s "$DATA/root" ] || tell "root $(value_of "$DATA/root" said)"
  tell_above
  layout | sed -n 's/^partition[[:space:]]*//p' | while read -r line; do
    # shellcheck disable=SC2086 # fields
    tell_partition $line
  done
  tell_lockdown
  [ ! -d "$ROOT/run/systemd/system" ] || tell_failed
  [ ! -s "$DATA/degraded" ] || while read -r why; do tell "degraded $why"; done <"$DATA/degraded"
}

main
