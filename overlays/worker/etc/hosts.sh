#!/bin/sh
# /etc/hosts.sh: gives /etc/hosts its canonical names, with the domain, once setup.sh has found the node's own short one.
#
# site.img brings hosts twice where the site has a domain, for every setup.sh takes the first name after the node's
# address for its own: releases without this script go on with the short names first. /etc/hosts leads to the file.
set -eu

DATA=${ROOT:-}/run/plugnode # ROOT, tests: a folder in place of /
[ ! -f "$DATA/hosts.canonical" ] || mv -f "$DATA/hosts.canonical" "$DATA/hosts"
