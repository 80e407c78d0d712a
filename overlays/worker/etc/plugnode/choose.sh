# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: which disk is the node's. Read in by /etc/setup.sh.

named_disks() { # every one that the layout names, in the order of the patterns
  # shellcheck disable=SC2013 # words, and patterns among them, are meant to be expanded
  for path in $(layout_values device); do
    [ ! -b "$path" ] || readlink -f "$path"
  done | awk '!seen[$0]++'
}

every_disk() { # those of $WORK/named, and whatever else this machine has, whatever it is called today
  {
    cat "$WORK/named"
    for place in "$ROOT"/sys/block/*; do
      [ ! -e "$place/device" ] || echo "${place##*/}" | tr '!' / | sed 's,^,/dev/,'
    done
  } | awk '!seen[$0]++' | while read -r disk; do [ ! -b "$disk" ] || echo "$disk"; done
}

candidates() { # into $WORK/disks what is named and fit, those in use last; into $WORK/ours what is ours, named or not
  named_disks >"$WORK/named"
  : >"$WORK/ours"
  every_disk | while read -r disk; do
    [ -z "$(unfit "$disk")" ] || continue
    note_ours "$disk"
    grep -Fqx "$disk" "$WORK/named" || continue
    if in_use "$disk"; then echo "2 $disk"; else echo "1 $disk"; fi
  done | sort -s -k 1,1 | sed 's/^. //' >"$WORK/disks"
}

note_ours() { # DISK
  read_state "$1"
  case $STATE in CLAIMING | COMMITTED) ;; *) return 0 ;; esac
  if [ "$HAS_NODE" = "$NODE" ]; then echo "mine $1"; else echo "ours $1"; fi >>"$WORK/ours"
}

unfit() { # DISK: why it is none of ours to use, or nothing
  sys=$(sys_of "$1")
  if [ ! -e "$sys/size" ]; then
    echo "is no whole disk"
  elif [ "$(cat "$sys/removable")" != 0 ] && ! layout_values allow | grep -qx removable; then
    echo "is removable; match: {removable: true} allows that"
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

find_disks() { # wait, bounded, for this node's own: SATA and SAS answer seconds after their module is in
  [ "$(layout_values required)" = no ] && limit=10 || limit=30
  limit=$(argument plugnode.wait | grep . || echo "${WAIT:-$limit}") waited=0 said=
  begun=$(uptime_seconds)
  settle
  until candidates && enough "$waited"; do
    [ "$waited" -lt "$limit" ] || break
    if [ "$waited" -ge 3 ] && [ -z "$said" ]; then
      said=yes
      say "waiting for a disk: $(layout_values device | tr '\n' ' ')"
    fi
    sleep 1
    waited=$(($(uptime_seconds) - begun)) # by the clock: a look takes seconds where disks are many or slow
  done
  note_disks
  [ -s "$WORK/disks" ] || [ -s "$WORK/ours" ]
}

uptime_seconds() {
  read -r up _ </proc/uptime
  echo "${up%%.*}"
}

enough() { # SECONDS: this node's disk is there; or one of ours, or all that the layout means, and for a while no other
  ! grep -q '^mine' "$WORK/ours" || return 0
  [ "$1" -ge 5 ] || return 1
  [ ! -s "$WORK/ours" ] || return 0
  [ -s "$WORK/disks" ] || return 1
  set -f
  # shellcheck disable=SC2046 # words
  set -- $(layout_values device)
  set +f
  for path; do
    case $path in *[*?[]*) return 1 ;; esac
    [ -b "$path" ] || return 1
  done
}

pick_disk() { # sets DISK: the one that is this node's or ours, whatever it is called; only where none is, the first
  mine=$(sed -n 's/^mine //p' "$WORK/ours") ours=$(sed 's/^[a-z]* //' "$WORK/ours")
  # shellcheck disable=SC2086 # a list
  set -- ${mine:-$ours}
  DISK=$(head -n 1 "$WORK/disks")
  [ $# -gt 0 ] || return 0
  for DISK; do
    if [ $# -eq 1 ] || forced "$DISK"; then return 0; fi
  done
  list_disks
  degrade "several disks are ours: $*; wipe: force:SERIAL or match: {serial: …} picks one"
  return 1
}

note_disks() { # for whoever asks the node: DISK MIB SERIAL TRANSPORT, "-" for what it does not say
  every_disk | while read -r disk; do
    serial=$(disk_serial "$disk") transport=$(disk_transport "$disk")
    echo "$disk $(mib_of "$disk") ${serial:--} ${transport:--}"
  done >"$DATA/disks"
}

list_disks() { # every one, with what it is and what would take it
  every_disk | while read -r disk; do
    serial=$(disk_serial "$disk") why=$(unfit "$disk")
    [ -n "$why" ] || why=${serial:+"wipe: force:$serial takes it"}
    say "disk $disk: $(mib_of "$disk") MiB, serial ${serial:-unknown}, $(disk_transport "$disk"): $(contents "$disk"); $why"
  done
}

contents() { # DISK: a word or two for what is on it
  read_state "$1"
  case $STATE in
  CLAIMING | COMMITTED) echo "ours, $STATE, of $HAS_NODE" ;;
  other) echo "another site's, of $HAS_NODE" ;;
  *) signature "$1" 2>/dev/null | tr '\n' ' ' | sed 's/ $//' | grep . || echo "nothing known" ;;
  esac
}

signature() { # DISK: blkid's words, or wipefs's where it knows none
  "$(tool blkid)" -p -s TYPE -s PTTYPE -o value "$1" || tag "$1" TYPE | grep . ||
    wipefs -p "$1" | sed '1d; s/.*,//'
}
