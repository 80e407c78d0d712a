# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what is done with the node's disk, by what it is. Read in by /etc/setup.sh.

use_disk() { # the state machine
  if mounted "$VAR"; then say "/var is mounted, so the disks are done" && return; fi
  [ -f "$LAYOUT_FILE" ] || { degrade "site.img has no disk layout for ${ADDRESS:-this node}" && return; }
  find_disks || { without_disk && return; }
  pick_disk || return 0
  verdict=$(judge "$DISK")
  say "$DISK: $(mib_of "$DISK") MiB, $verdict"
  read_state "$DISK"
  if [ "$verdict" = BLANK ] || [ "$verdict" = CLAIMING ]; then
    provision_then_mount
  elif [ "$verdict" = COMMITTED ]; then
    if [ -n "$(asked)" ]; then provision_then_mount; else mount_all; fi
  elif forced "$DISK" || taken_by_group "$DISK"; then
    provision_then_mount
  else
    list_disks
    degrade "$DISK is not touched, $verdict"
  fi
}

without_disk() {
  list_disks
  [ "$(layout_values required)" = no ] || stop_node "no disk: none of $(layout_values device | tr '\n' ' ')"
  say "no disk; all is kept in memory, as the site allows"
}

provision_then_mount() {
  ! root_stands_on "$DISK" || leave_disk "$DISK"
  why=$(fits "$DISK") || { degrade "$why; $DISK is not touched" && return 0; }
  if again provision "$DISK" "$(remembered)"; then
    settle
    read_state "$DISK"
    mount_all
  else
    umount -n "$WORK/mnt" 2>/dev/null || :
    degrade "$DISK could not be provisioned; the next boot tries again"
  fi
}
