# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what is done with the node's disks, by what they are. Read in by /etc/setup.sh.

use_disks() { # each layout in a process of its own; what one has taken is none of the next one's
  if mounted "$VAR"; then say "/var is mounted, so the disks are done" && return; fi
  [ -n "$LAYOUT_FILES" ] || { degrade "site.img has no disk layout for ${ADDRESS:-this node}" && return; }
  rm -f "$WORK/taken"
  note_looks
  doubt_line
  for file in $LAYOUT_FILES; do
    status=0
    again use_layout "$file" || status=$?
    [ "$status" -ne 9 ] || exit 9 # stopped
    [ "$status" -eq 0 ] || degrade "use_disks failed; see /run/plugnode/setup.log"
  done
}

use_layout() { # FILE: the state machine
  take_layout "$1"
  find_disks || { without_disk && return; }
  refuse_shared
  pick_disks || return 0
  verdict=$(judge_all)
  read_states
  for disk in $MEMBERS; do say "$disk: $(mib_of "$disk") MiB, $verdict"; done
  if [ "$verdict" = COMMITTED ] && [ -z "$(asked)" ]; then
    mount_all
  elif [ "$verdict" = BLANK ] || [ "$verdict" = CLAIMING ] || [ "$verdict" = COMMITTED ] || all_given; then
    provision_then_mount
  else
    list_disks
    degrade "$MEMBERS $(is_or_are) not touched, $verdict"
  fi
}

is_or_are() {
  [ "$COUNT" -eq 1 ] && echo is || echo are
}

all_given() { # every disk that is not blank is taken by its serial number, or as one of a group's
  for disk in $MEMBERS; do
    [ "$(judge "$disk")" = BLANK ] || forced "$disk" || taken_by_group "$disk" || return 1
  done
}

without_disk() {
  list_disks
  lacks="none of $(layout_values device | tr '\n' ' ')"
  [ "$COUNT" -eq 1 ] || lacks="$(($(wc -l <"$WORK/disks"))) of the $COUNT that it takes of $(layout_values device | tr '\n' ' ')"
  [ "$(layout_values required)" = no ] || stop_node "no disk: $lacks"
  say "no disk; all is kept in memory, as the site allows"
}

provision_then_mount() {
  for disk in $MEMBERS; do ! root_stands_on "$disk" || leave_disk "$disk"; done
  add_blank
  why=$(fits) || { degrade "$why; $MEMBERS $(is_or_are) not touched" && return 0; }
  # shellcheck disable=SC2086 # a shell may be two words
  if locked ${SH:-/bin/sh} "$0" provision "$(remembered)"; then
    settle
    read_states
    mount_all
  else
    umount -n "$WORK/mnt" 2>/dev/null || :
    degrade "$MEMBERS could not be provisioned; the next boot tries again"
  fi
}
