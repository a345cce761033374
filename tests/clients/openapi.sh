#!/bin/bash
# This file holds the document of the HTTP interface against a linter of OpenAPI documents; it never
# starts a service.
set -u
cd "$(dirname "$0")/../.." || exit 2
BERTH=${BERTH:-$PWD/${BUILD:-build}/bin/berth}
. tests/clients/lib.sh
trap 'rm -rf "$NPM_DIR"' EXIT
status=0
npm_has openapi_linter @redocly/cli@2.77.0 || exit 0
"$BERTH" openapi >"$NPM_DIR/openapi.json" || exit 2
cp tests/clients/redocly.yaml "$NPM_DIR/redocly.yaml"

# lint FILE: prints what is wrong with it, as "rule place"; fails when there is anything.
lint() {
    (cd "$NPM_DIR" && REDOCLY_TELEMETRY=off timeout 100 node_modules/.bin/redocly lint --format=json "$1" 2>lint.err >lint.json)
    node -e '
        const found = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
        for (const p of found.problems) console.log("#", p.ruleId, p.message, (p.location[0] || {}).pointer);
        process.exit(found.totals.errors + found.totals.warnings ? 1 : 0);' "$NPM_DIR/lint.json"
}

if lint openapi.json; then echo 'ok openapi_linter has nothing to say'; else echo 'not ok openapi_linter has nothing to say' && status=1; fi

# The linter does see what is wrong.
sed 's/"operationId":"sessionGet"/"operationId":"sessionList"/; s|#/components/schemas/Usage"|#/components/schemas/Nothing"|' \
    "$NPM_DIR/openapi.json" >"$NPM_DIR/wrong.json"
if lint wrong.json >"$NPM_DIR/said" || ! grep -q operation-operationId-unique "$NPM_DIR/said" || ! grep -q no-unresolved-refs "$NPM_DIR/said"; then
    cat "$NPM_DIR/said"
    echo 'not ok openapi_linter sees a wrong document' && status=1
else echo 'ok openapi_linter sees a wrong document'; fi
exit $status
