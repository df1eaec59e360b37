#!/bin/sh
# A release for a test: it says its version, and is otherwise the program that it took the place of.
[ "$1" = --version ] && exit 0
export RELEASE_OF_THIS_TEST=1.2.3
exec "$0.backup" "$@"
