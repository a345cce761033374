#!/bin/bash
# This file runs pages.py: --help, the man pages and the completions say the same.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BERTH:=$PWD/${BUILD:-build}/bin/berth}"
export BERTH
case $BERTH in /*) ;; *) BERTH=$PWD/$BERTH ;; esac
exec python3 tests/e2e/pages.py
