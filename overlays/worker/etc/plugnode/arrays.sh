# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: RAID sets: each member is a disk of ours, with a state sector and one partition. The array over those is what
# gets the layout's table. Only an array whose UUID is in our state sectors is ever started. Read in by /etc/setup.sh.

SHARE=2 # MiB of a member's partition in front of the array's own data

lacks_raid() { # what this root or its kernel lacks for such a set
  [ -n "$LEVEL" ] || return 0
  need mdadm mdadm
  [ "$TABLE" = gpt ] || echo "this sfdisk writes no GPT, which a RAID set needs"
  modprobe -q "raid$LEVEL" || :
  grep -q "\[raid$LEVEL\]" /proc/mdstat 2>/dev/null || echo "this kernel has no raid$LEVEL: add its module to the reference"
}

lacks_disk() {
  # shellcheck disable=SC2086 # a list
  set -- $MEMBERS
  [ $# -ge "$COUNT" ] || echo "a RAID set of $COUNT disks, of which $# can be used"
}

member_mib() { # of each member's partition: as much as the smallest disk has, but for a MiB at either end
  least=
  for disk in $MEMBERS; do
    mib=$(mib_of "$disk")
    [ -n "$least" ] && [ "$least" -le "$mib" ] || least=$mib
  done
  echo $((least - 2))
}

array_mib() { # of the array that they make
  share=$(($(member_mib) - SHARE))
  [ "$LEVEL" -ne 0 ] || share=$((share * COUNT))
  echo "$share"
}

member_nodes() { # on one line
  for disk in $MEMBERS; do partition_node "$disk" 1; done | on_one_line
}

make_array() { # sets DISK and ARRAY: a new one, known by a UUID that no other has
  cp "$WORK/partitions" "$WORK/whole"
  echo "1 - $(member_mib) raid - -" >"$WORK/partitions"
  for disk in $MEMBERS; do make_table "$disk"; done
  cp "$WORK/whole" "$WORK/partitions"
  ARRAY=$(new_uuid | tr -d -)
  DISK=$(free_array)
  step "make a RAID$LEVEL set of $MEMBERS: $DISK"
  # What both halves of a mirror have in common is what is written to it: nothing else is ever read
  set -- --level="$LEVEL" --raid-devices="$COUNT"
  [ "$LEVEL" -ne 1 ] || set -- "$@" --bitmap=internal --assume-clean
  # shellcheck disable=SC2046 # a list
  run mdadm --create "$DISK" --config=none --run --metadata=1.2 --data-offset="${SHARE}M" \
    --homehost="pn-$SITE" --name="$SET" --uuid="$ARRAY" "$@" $(member_nodes)
}

free_array() { # a name that none has
  number=100
  while [ -e "/sys/block/md$number" ]; do number=$((number + 1)); done
  echo "/dev/md$number"
}

start_array() { # sets DISK: the set's own array, of those members alone that say that they are of it
  [ "$HAS_ARRAY" != - ] || return 0
  stop_array || return 1
  nodes=
  for node in $(member_nodes); do
    ! is_of_array "$node" || nodes="$nodes $node"
  done
  DISK=$(free_array)
  step "start the RAID set of $MEMBERS: $DISK"
  # shellcheck disable=SC2086 # a list
  run mdadm --assemble "$DISK" --config=none --run --homehost="pn-$SITE" --uuid="$HAS_ARRAY" $nodes || {
    mdadm --stop "$DISK" >/dev/null 2>&1 || :
    return 1
  }
  for node in $nodes; do add_again "$node"; done
  note_missing
  reread "$DISK" || :
  settle
}

stop_array() { # also what an initrd or udev made of the set
  # A new one rests until udev has seen its partitions: some went for a moment when the table was read, and `mdadm -If`
  # of its rules would fail them as members of an array that runs
  for disk in $MEMBERS; do
    ! in_use "$disk" || take_down "$disk" || return 1
  done
}

is_of_array() { # NODE: its superblock has the UUID of the state sector
  [ "$(mdadm --examine --export "$1" 2>/dev/null | sed -n 's/^MD_UUID=//p' | tr -d :)" = "$HAS_ARRAY" ]
}

add_again() { # NODE: a member that was away for a while; what it missed is copied to it
  [ ! -e "/sys/block/${DISK#/dev/}/slaves/${1#/dev/}" ] || return 0
  say "$1 was away; it is added again"
  run mdadm "$DISK" --re-add "$1" || :
}

note_missing() { # a set that goes on with less than it should have
  lacking=$(cat "/sys/block/${DISK#/dev/}/md/degraded" 2>/dev/null || echo 0)
  [ "$lacking" -eq 0 ] || degrade "$DISK, of $MEMBERS, lacks $lacking of its disks"
}
