#!/bin/bash
# This file lets the runner of the tests prove, before anything is attacked, that every hostile
# program succeeds where nothing holds it. It never starts a session.
exec "$(dirname "$0")/attacks.sh" --self-check
