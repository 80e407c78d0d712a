# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: which disk is the node's. Read in by /etc/setup.sh.

candidates() { # every disk that the layout names and this script may look at, in the order of the patterns, those in use last
  # shellcheck disable=SC2013 # words, and patterns among them, are meant to be expanded
  for path in $(layout_values device); do
    [ -b "$path" ] || continue
    disk=$(readlink -f "$path")
    why=$(unfit "$disk")
    if [ -n "$why" ]; then
      echo "$disk $why" >>"$WORK/unfit"
    elif in_use "$disk"; then
      echo "2 $disk"
    else
      echo "1 $disk"
    fi
  done | sort -s -k 1,1 | awk '!seen[$2]++ { print $2 }'
}

unfit() { # DISK: why it is none of ours to use, or nothing
  sys=$(sys_of "$1")
  if [ ! -e "$sys/size" ]; then
    echo "is no whole disk"
  elif [ "$(cat "$sys/removable")" != 0 ]; then
    echo "is removable"
  elif [ "$(blockdev --getro "$1")" != 0 ]; then
    echo "is read-only"
  elif [ "$(disk_transport "$1")" = usb ]; then
    echo "is on USB"
  else
    layout_values match | unmatched "$1"
  fi
}

unmatched() { # DISK, wanted "KEY VALUE" lines on stdin: the first that the disk does not fulfil
  while read -r key value; do
    case $key in
    size) size_within "$(mib_of "$1")" "$value" || echo "has $(mib_of "$1") MiB, not $value" ;;
    serial | id | transport)
      is=$("disk_$key" "$1")
      like "$is" "$value" || echo "has $key \"$is\", not \"$value\""
      ;;
    *) echo "cannot be matched by $key" ;;
    esac
  done | head -n 1
}

like() { # WORDS PATTERN: one of the words is like the pattern
  for word in $1; do
    # shellcheck disable=SC2254 # a pattern is what it is
    case $word in $2) return 0 ;; esac
  done
  return 1
}

size_within() { # MIB LOW..HIGH: either end may be missing; units as in site.yaml
  awk -v mib="$1" -v range="$2" '
    function mib_of(text,  n) {
      n = text + 0
      return text ~ /T/ ? n * 1048576 : text ~ /G/ ? n * 1024 : n
    }
    BEGIN { split(range, end, /\.\./); exit !(mib >= mib_of(end[1]) && (end[2] == "" || mib <= mib_of(end[2]))) }'
}

find_disks() { # wait, bounded, for the first of them: SATA and SAS answer seconds after their module is in
  [ "$(layout_values required)" = no ] && limit=10 || limit=30
  limit=$(argument plugnode.wait | grep . || echo "${WAIT:-$limit}")
  settle
  until true >"$WORK/unfit" && candidates >"$WORK/disks" && [ -s "$WORK/disks" ]; do
    [ "${waited:=0}" -lt "$limit" ] || return 1
    [ "$waited" -ne 3 ] || say "waiting for a disk: $(layout_values device | tr '\n' ' ')"
    sleep 1
    waited=$((waited + 1))
  done
}

pick_disk() { # of $WORK/disks: the one that is ours already, else the first; sets DISK
  DISK=$(head -n 1 "$WORK/disks") ours='' mine=''
  while read -r disk; do
    read_state "$disk"
    case $STATE in CLAIMING | COMMITTED) ours="$ours $disk" ;; *) continue ;; esac
    [ "$HAS_NODE" != "$NODE" ] || mine="$mine $disk"
  done <"$WORK/disks"
  # shellcheck disable=SC2086 # a list
  set -- ${mine:-$ours}
  [ $# -le 1 ] || { degrade "several disks are ours: $*; remove or wipe all but one" && return 1; }
  DISK=${1:-$DISK}
}
