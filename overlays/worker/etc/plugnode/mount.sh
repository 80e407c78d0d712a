# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: using what is on a disk of ours. Read in by /etc/setup.sh.

mount_all() {
  lacks=$(need blkid "util-linux, or e2fsprogs on EL5")
  [ -z "$lacks" ] || { degrade "$lacks; $DISK is not used" && return 0; }
  echo "$DISK" >"$WORK/disk"
  [ "$HAS_LAYOUT" = "$LAYOUT" ] ||
    say "$DISK has another layout than the site wants; what matches by label is used, nothing is changed"
  each_partition mount_partition
  [ ! -e "$VAR/wipe" ] || wipe_on_request
}

mount_partition() { # NUMBER MOUNT MIB FS LABEL FILL
  node=$(node_of "$1" "$4" "$5") || { degrade "$2: no sound $4 labelled $5 on $DISK" && return 0; }
  if [ "$4" = swap ]; then
    run swapon "$node" || degrade "$node: no swap"
    return
  fi
  if ! check_filesystem "$node" "$4" || ! run mount -n -t "$4" -o "$(mount_options "$4")" "$node" "$ROOT$2"; then
    degrade "$2: $node cannot be used, and stays as it is"
    return
  fi
  [ "$6" = - ] || accept_filled "$ROOT$2" "$6" "$node"
}

mount_options() { # FS: with barriers, which ext3 has off by default before Linux 3.1
  [ "$1" = ext3 ] && echo rw,barrier=1 || echo rw
}

node_of() { # NUMBER FS LABEL: the partition with that label; by its number when an admin asks for a repair
  number=0
  while [ "$number" -lt 16 ]; do
    number=$((number + 1))
    node=$(partition_node "$DISK" "$number")
    [ -b "$node" ] && [ "$(tag "$node" LABEL)" = "$3" ] && [ "$(tag "$node" TYPE)" = "$2" ] && echo "$node" && return
  done
  [ "$(argument plugnode.fsck)" = repair ] && [ "$HAS_LAYOUT" = "$LAYOUT" ] && partition_node "$DISK" "$1"
}

check_filesystem() { # NODE FS; e2fsck: 0 clean, 1 repaired, 2 repaired and reboot if it is the root; xfs has its log
  case $2 in ext*) ;; *) return 0 ;; esac
  lacks=$(need "fsck.$2" e2fsprogs)
  [ -z "$lacks" ] || { say "$lacks" && return 1; }
  "fsck.$2" -p "$1" >"$WORK/output" 2>&1 </dev/null || {
    status=$?
    [ "$status" -ge 4 ] || { say "$1: repaired" && return 0; }
    [ "$(argument plugnode.fsck)" = repair ] || { say "$1: fsck -p gives $status; plugnode.fsck=repair?" && return 1; }
    step "$1: fsck -y, as the kernel command line says"
    "fsck.$2" -y "$1" >"$WORK/output" 2>&1 </dev/null || [ $? -lt 4 ]
  }
}
