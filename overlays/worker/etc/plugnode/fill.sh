# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what fills a partition, at first and with each new release; a cut leaves no half file. Read in by /etc/setup.sh.

write_synced() { # FILE TEXT: what was there or TEXT, whenever the power goes, and TEXT only after all that was before
  flush
  echo "$2" >"$1.new"
  flush
  mv -f "$1.new" "$1"
  flush
}

fill_from() { # FROM TO: all that FROM has; of the archive beside it, for each small file takes several calls to the server
  if [ ! -f "$1.tar.gz" ] || ! command -v tar >/dev/null || ! run tar -xzpmf "$1.tar.gz" -C "$2"; then
    run cp -a "$1/." "$2/"
    return
  fi
  while IFS= read -r path <&3; do
    above=$2/$path
    run cp -a "$1/$path" "${above%/*}/" || return 1
  done 3<"$1.rest"
}

accept_filled() { # FOLDER FILL NODE: it has its mark, and what a newer release brings
  [ -f "$1/.plugnode" ] || { umount -n "$1" && degrade "$3 lacks the mark of a complete one" && return 0; }
  [ "$(cat "$1/.plugnode")" != "$RELEASE" ] || return 0
  step "add to $1 what is new in $2"
  # AppArmor knows by times which rules it compiled those of, and a release before may have later ones
  [ "$1" != "$VAR" ] || rm -rf "$VAR/cache/apparmor"
  again add_new "$ROOT$2" "$1" || degrade "$1 lacks what is new in $2"
}

add_new() { # FROM TO: what FROM has and TO lacks; what TO has stays, and a cut leaves no half file
  rm -rf "$2/.plugnode-new"
  mkdir "$2/.plugnode-new"
  # shellcheck disable=SC2086 # a shell may be two words
  (cd "$1" && find . ! -name . -exec ${SH:-/bin/sh} "$0" stage_new "$2" '{}' +) 2>"$WORK/output" || {
    say "$(head -n 1 "$WORK/output")"
    rm -rf "$2/.plugnode-new"
    return 1
  }
  flush
  move_new "$2"
  write_synced "$2/.plugnode" "$RELEASE"
}

stage_new() { # TO PATH…: copies of what TO lacks, each with a note of its folder; a lacking folder is copied whole
  to=$1 number=0
  shift
  for path; do
    if [ -e "$to/$path" ] || [ -L "$to/$path" ] || [ ! -d "$to/${path%/*}" ]; then continue; fi
    number=$((number + 1))
    new=$to/.plugnode-new/$$.$number
    mkdir "$new"
    cp -a "$path" "$new/"
    printf '%s\n' "${path%/*}" >"$new.to"
  done
}

move_new() { # TO: each by a rename
  for to in "$1"/.plugnode-new/*.to; do
    [ -f "$to" ] || continue
    find "${to%.to}" ! -path "${to%.to}" -prune -exec mv -f '{}' "$1/$(cat "$to")/" ';'
  done
  rm -rf "$1/.plugnode-new"
}
