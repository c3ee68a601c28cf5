#!/bin/sh
# start.sh CONFIGURATION [ARGUMENT...]: redis-server, with $NAME in its configuration taken from the environment, which it cannot do
# itself. The passwords are written nowhere.
set -eu
configuration=$(cat "$1")
shift
eval "exec redis-server - \"\$@\" <<END
$configuration
END"
