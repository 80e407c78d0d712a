# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: using what is on a disk of ours. Read in by /etc/setup.sh.

mount_all() {
  lacks=$(need blkid "util-linux, or e2fsprogs on EL5")
  [ -z "$lacks" ] || { degrade "$lacks; $DISK is not used" && return 0; }
  same_state
  start_array || { degrade "the RAID set of $MEMBERS does not start, and stays as it is" && return 0; }
  grep -Fqx "$DISK" "$WORK/disk" 2>/dev/null || echo "$DISK" >>"$WORK/disk"
  [ "$HAS_LAYOUT" = "$LAYOUT" ] ||
    say "$DISK has another layout than the site wants; what matches by label is used, nothing is changed"
  each_partition mount_partition
  [ ! -e "$VAR/wipe" ] || ! has_var || wipe_on_request
}

mount_partition() { # NUMBER MOUNT MIB FS LABEL FILL
  node=$(node_of "$1" "$4" "$5") || { degrade "$2: no sound $4 labelled $5 on $DISK" && return 0; }
  if [ "$4" = swap ]; then
    [ -n "$(uses "$(readlink -f "$node")" /proc/swaps)" ] || run swapon "$node" || degrade "$node: no swap"
    return
  fi
  [ "$2" != image ] || { mount_image "$node" "$4" && return; }
  remember_looks "$2"
  [ -d "$ROOT$2" ] || mkdir -p "$ROOT$2" 2>/dev/null || : # below a file system of ours, which is new
  if ! check_filesystem "$node" "$4" || ! mount_or_repair "$node" "$4" "$2"; then
    put_back
    degrade "$2: $node cannot be used, and stays as it is$(newer "$node")"
    return
  fi
  [ "$6" = - ] || accept_filled "$ROOT$2" "$6" "$node"
  ! mounted "$ROOT$2" || give_looks "$2" "$6"
  put_back
}

set_aside() { # MOUNT: what other layouts have mounted below it, which a mount there would cover
  # shellcheck disable=SC2086 # a list
  sed -n 's/^partition //p' $LAYOUT_FILES /dev/null | awk -v above="$1/" 'index($1, above) == 1 { print $1 }' | sort -r |
    while read -r mount; do
      mounted "$ROOT$mount" || continue
      mkdir -p "$WORK/aside$mount"
      run mount -n -o bind "$ROOT$mount" "$WORK/aside$mount" || continue
      run umount -n "$ROOT$mount" || continue
      echo "$mount" >>"$WORK/aside.list"
    done
}

put_back() { # what was set aside, parents first
  [ -f "$WORK/aside.list" ] || return 0
  sort -u "$WORK/aside.list" >"$WORK/aside.sorted"
  rm -f "$WORK/aside.list"
  while read -r mount <&4; do
    mkdir -p "$ROOT$mount" 2>/dev/null || :
    run mount -n -o bind "$WORK/aside$mount" "$ROOT$mount" || degrade "$mount: what was mounted there is not put back"
    run umount -n "$WORK/aside$mount" || :
  done 4<"$WORK/aside.sorted"
}

mount_or_repair() { # NODE FS MOUNT; xfs has no check before: its log is replayed by the mount
  set_aside "$3"
  ! run mount -n -t "$2" -o "$(mount_options "$2" "$3")" "$1" "$ROOT$3" || return 0
  kernel_words "$1" >>"$WORK/output"
  [ "$2" = xfs ] && [ -z "$(newer "$1")" ] || return 1
  [ "$(argument plugnode.fsck)" = repair ] || { say "$1: does not mount; plugnode.fsck=repair?" && return 1; }
  repair_xfs "$1" && run mount -n -t xfs -o "$(mount_options xfs "$3")" "$1" "$ROOT$3"
}

repair_xfs() { # NODE; a log that cannot be replayed is given up, and with it what was changed last
  lacks=$(need xfs_repair xfsprogs)
  [ -z "$lacks" ] || { say "$lacks" && return 1; }
  step "$1: xfs_repair, as the kernel command line says"
  xfs_repair "$1" >"$WORK/output" 2>&1 </dev/null || {
    status=$?
    tell_output "$1"
    [ "$status" -eq 2 ] || return 1
    step "$1: xfs_repair -L, which gives up the log"
    run xfs_repair -L "$1"
  }
}

mount_options() { # FS MOUNT: the site's, and barriers, which ext3 has off by default before Linux 3.1
  options=$(mount_value options "$2")
  [ "$1" != ext3 ] || options=barrier=1${options:+,$options}
  echo "rw${options:+,$options}"
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

check_filesystem() { # NODE FS; e2fsck: 0 clean, 1 repaired, 2 repaired and reboot if it is the root
  case $2 in ext*) ;; *) return 0 ;; esac
  lacks=$(need "fsck.$2" e2fsprogs)
  [ -z "$lacks" ] || { say "$lacks" && return 1; }
  "fsck.$2" -p "$1" >"$WORK/output" 2>&1 </dev/null || {
    status=$?
    tell_output "$1"
    [ "$status" -ge 4 ] || { say "$1: repaired" && return 0; }
    [ -z "$(newer "$1")" ] || return 1
    [ "$(argument plugnode.fsck)" = repair ] || { say "$1: fsck -p gives $status; plugnode.fsck=repair?" && return 1; }
    step "$1: fsck -y, as the kernel command line says"
    status=0
    "fsck.$2" -y "$1" >"$WORK/output" 2>&1 </dev/null || status=$?
    tell_output "$1"
    [ "$status" -lt 4 ]
  }
}

newer() { # NODE: that its file system has what this release does not know, by the last words of who looked at it
  grep -Eiq '(unsupported|unknown).*feature' "$WORK/output" || return 0
  echo "; it has features that this release does not know, of $(made_by "${MEMBERS%% *}"): go back to that one, or wipe"
}

kernel_words() { # NODE: the kernel's last ones about it
  dmesg 2>/dev/null | grep -F "($(basename "$(readlink -f "$1")"))" | tail -n 2
}
