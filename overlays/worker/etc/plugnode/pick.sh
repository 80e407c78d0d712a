# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: waiting for disks, and which of them a layout takes. Read in by /etc/setup.sh.

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
  [ -s "$WORK/ours" ] || [ "$(wc -l <"$WORK/disks")" -ge "$COUNT" ]
}

uptime_seconds() {
  read -r up _ </proc/uptime
  echo "${up%%.*}"
}

enough() { # SECONDS: this node's disks are there; or ours, or all that the layout means, and for a while no others
  [ "$(grep -c '^mine' "$WORK/ours")" -lt "$COUNT" ] || return 0
  [ "$1" -ge 5 ] || return 1
  [ "$(wc -l <"$WORK/ours")" -lt "$COUNT" ] || return 0
  [ "$(wc -l <"$WORK/disks")" -ge "$COUNT" ] || return 1
  set -f
  # shellcheck disable=SC2046 # words
  set -- $(layout_values device)
  set +f
  for path; do
    case $path in *[*?[]*) return 1 ;; esac
    [ -b "$path" ] || return 1
  done
}

pick_disks() { # sets MEMBERS: those that are this node's or ours, whatever they are called; only where none is, others
  grep '^mine' "$WORK/ours" >"$WORK/own" || cp "$WORK/ours" "$WORK/own"
  if ! MEMBERS=$(pick_own); then
    list_disks
    degrade "several disks are ours: $(own_disks); wipe: force:SERIAL or match: {serial: …} picks one"
    return 1
  fi
  [ -n "$MEMBERS" ] || MEMBERS=$(ranked | head -n "$COUNT" | on_one_line)
  DISK=${MEMBERS%% *}
  export MEMBERS
  echo "$MEMBERS" | tr ' ' '\n' >>"$WORK/taken"
}

ranked() { # $WORK/disks: what a token names, then what is blank; last what is refused, to be told of
  [ "$(wc -l <"$WORK/disks")" -gt "$COUNT" ] || { cat "$WORK/disks" && return; }
  while read -r disk <&3; do
    if forced "$disk"; then
      echo "1 $disk"
    elif [ "$(judge "$disk")" = BLANK ]; then
      echo "2 $disk"
    else
      echo "3 $disk"
    fi
  done 3<"$WORK/disks" | sort -s -k 1,1 | sed 's/^. //'
}

pick_own() { # of $WORK/own one set: all, or the one that a serial number names; of nothing nothing
  if is_one_set; then own_disks && return; fi
  for disk in $(own_disks); do
    forced "$disk" || continue
    [ "$COUNT" -eq 1 ] && echo "$disk" && return
    awk -v disk="$disk" 'NR == FNR { if ($2 == disk) array = $4; next } $4 == array { print $2 }' "$WORK/own" "$WORK/own" |
      on_one_line
    return
  done
  return 1
}

is_one_set() { # no more disks than the layout means, and of one array, unless all of them are claims that were cut
  awk -v most="$COUNT" '
    { arrays += !seen[$4]++; if ($3 == "COMMITTED") complete = 1 }
    END { exit !(NR <= most && (arrays <= 1 || !complete)) }' "$WORK/own"
}

own_disks() {
  awk '{ print $2 }' "$WORK/own" | on_one_line
}

on_one_line() { # the lines of the standard input, on one
  tr '\n' ' ' | sed 's/ $//'
}

add_blank() { # to MEMBERS, as many as a set lacks that is to be made anew
  while read -r disk <&3; do
    # shellcheck disable=SC2086 # a list
    set -- $MEMBERS
    [ $# -lt "$COUNT" ] || break
    case " $MEMBERS " in *" $disk "*) continue ;; esac
    [ "$(judge "$disk")" = BLANK ] || continue
    MEMBERS="$MEMBERS $disk"
    echo "$disk" >>"$WORK/taken"
  done 3<"$WORK/disks"
}
