#!/bin/bash
# This file checks that every edit of tests/attack/mutations.list still changes the file that it names:
# code that moved takes its mutation with it. Whether the weakening lets an attack succeed is what
# `make attack-mutations` finds out; this never builds anything.
set -u
cd "$(dirname "$0")/../.." || exit 2
list=tests/attack/mutations.list status=0 edits=0
while IFS= read -r line; do
    rest=${line#* }
    file=${rest%% *} expression=${rest#* }
    edits=$((edits + 1))
    if ! text=$(sed -e "$expression" -- "$file" 2>&1); then
        echo "$list: $text"
        status=1
    elif [ "$text" = "$(<"$file")" ]; then
        echo "$list: no longer applies: $file: $expression"
        status=1
    fi
done < <(grep -E '^(edit|always) ' "$list")
if [ "$edits" -lt 25 ]; then
    echo "$list: only $edits edits were read"
    status=1
fi
exit $status
