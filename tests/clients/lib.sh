# This file is what the tests of clients share: packages from npm, in a directory that is gone at the
# end. The registry is the one that npm is configured for. It is sourced, by bash, before anything else
# that enters a network of its own.

# npm_has VERSIONED-PACKAGE...: installs them into $NPM_DIR. 0; 1: it has said why not, as verdicts for
# the test $1.
npm_has() {
    local test=$1 log=$NPM_DIR/install.log _
    shift
    if ! command -v npm >/dev/null || ! node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; then
        echo "skip $test: needs Node 20 or later, with npm"
        return 1
    fi
    # One small question, so that what fails afterwards is a failure.
    if ! npm_quiet view "${1%@*}" version >"$log" 2>&1 && ! npm_quiet view "${1%@*}" version >"$log" 2>&1; then
        sed 's/^/# /' "$log" | tail -n 3
        echo "skip $test: no package registry answers"
        return 1
    fi
    for _ in 1 2 3; do
        if npm_quiet install --prefix "$NPM_DIR" --no-save --ignore-scripts "$@" >"$log" 2>&1; then return 0; fi
    done
    sed 's/^/# /' "$log" | tail -n 20
    echo "not ok $test: npm install $*"
    return 1
}

npm_quiet() { timeout 120 npm --no-audit --no-fund --no-update-notifier --fetch-timeout=20000 --fetch-retries=1 "$@" </dev/null; }

NPM_DIR=$(mktemp -d "${TMPDIR:-/tmp}/clients.XXXXXX") || exit 2
chmod 755 "$NPM_DIR"
