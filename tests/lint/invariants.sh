#!/bin/bash
# This file checks that every test which docs/INVARIANTS.md names is there, and that each row names
# one. It never runs a test.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0 rows=0 names=0
while IFS= read -r line; do
    rows=$((rows + 1))
    tests=$(grep -oE '`tests/[^`]+:[A-Za-z0-9_]+`' <<<"$line" | tr -d '`')
    if [ -z "$tests" ]; then
        echo "docs/INVARIANTS.md: a row without a test: $line"
        status=1
    fi
    for name in $tests; do
        names=$((names + 1))
        file=${name%%:*} test=${name##*:}
        case $file in
        # As many spaces as clang-format likes, and a test may stand on the next line.
        *.c) grep -qE "(^|[ ,(])$test\)|(Test|AS_ROOT_ONLY|AS_EACH)\([a-z0-9_]+, *${test}[,)]|IN_A_PLACE\($test," "$file" 2>/dev/null ;;
        *.py) grep -qE "^def $test\(" "$file" 2>/dev/null ;;
        *) grep -qE "^$test\(\)" "$file" 2>/dev/null ;;
        esac || {
            echo "docs/INVARIANTS.md: no such test: $name"
            status=1
        }
    done
done < <(grep -E '^\| ' docs/INVARIANTS.md | grep -vE '^\| invariant \|')
# The contract's numbers of what is built: each of them has a row.
for number in ID-{1..4} SES-{1..8} WS-{1..3} FS-{1..3} EXEC-{1..8} CAP-{1..4} IDEM-{1..4} EV-1 USE-1 POL-{1..3}; do
    grep -q "^| $number |" docs/INVARIANTS.md || {
        echo "docs/INVARIANTS.md: no row for $number"
        status=1
    }
done
if [ "$rows" -lt 20 ] || [ "$names" -lt 30 ]; then
    echo "docs/INVARIANTS.md: only $rows rows with $names tests were read"
    status=1
fi
exit $status
