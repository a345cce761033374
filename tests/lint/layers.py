#!/usr/bin/env python3
"""This file checks what no compiler does: who may include whom, which file meets which library,
where dangerous system calls live, forbidden functions, and the house rules on files. It prints one
line `FILE:LINE: message` per finding and exits 1 if there is one; it never changes a file.

The rules are the tables below. Change a rule there, with its reason, not at its use."""

import fnmatch
import os
import re
import sys

# ---- who may include whom (docs/ARCHITECTURE.md, Layers) -------------------------------------------
# Folder of the including file (longest match) -> what it may name in #include "...", as patterns.
INCLUDES = {
    "runtime/base": ["runtime/base/*"],
    "runtime/plan": ["runtime/base/*", "runtime/plan/*", "runtime/*.h", "gen/*"],
    "runtime/stage": ["runtime/base/*", "runtime/plan/*", "runtime/stage/*", "runtime/*.h"],
    "runtime/agent": ["runtime/base/*", "runtime/plan/*", "runtime/stage/*", "runtime/agent/*",
                      "runtime/*.h"],
    "runtime/gateway": ["runtime/base/*", "runtime/plan/*", "runtime/gateway/*", "runtime/*.h"],
    "runtime/host": ["runtime/*"],
    # front's ends: it holds no privilege and links nothing that could use one.
    "runtime/link": ["runtime/base/*", "runtime/agent/*", "runtime/link/*", "runtime/*.h"],
    # The narrow waist: plain data and the facade know the base layer only.
    "runtime": ["runtime/base/*", "runtime/*.h"],
    # The pure plans are what `policy explain` answers from.
    "policy": ["policy/*", "runtime/base/*", "runtime/spec.h", "runtime/capability_names.h",
               "runtime/plan/seccomp.h", "runtime/plan/rootfs.h", "runtime/plan/landlock.h",
               "runtime/plan/host_name.h", "runtime/plan/address.h", "runtime/plan/network.h"],
    # probe.h is the half of the facade that says what this host gives (CAP-1).
    "provider": ["provider/*", "policy/*", "runtime/base/*", "runtime/link/*", "runtime/*.h",
                 "runtime/host/probe.h", "runtime/agent/spool.h"],
    # json.h and arena.h: request bodies and policy files are read by the same strict reader.
    # tar.h: the command line makes and reads archives by the same pure code as the worker.
    "api/cli": ["api/*", "provider/*", "policy/policy.h", "policy/json.h", "policy/arena.h",
                "runtime/base/*", "runtime/link/loop.h", "runtime/link/spool_reader.h", "runtime/*.h",
                "runtime/agent/tar.h"],
    "api": ["api/*", "provider/*", "policy/policy.h", "policy/json.h", "policy/arena.h",
            "runtime/base/*", "runtime/link/loop.h", "runtime/link/spool_reader.h", "runtime/*.h"],
    # The program that speaks to clients gives up its rights by itself, before it knows one.
    "api/front": ["api/*", "provider/*", "policy/policy.h", "policy/json.h", "policy/arena.h",
                  "runtime/base/*", "runtime/link/loop.h", "runtime/link/spool_reader.h",
                  "runtime/*.h", "runtime/plan/seccomp_front.h", "runtime/plan/landlock.h"],
    # HTTP reaches whoever does the work through api/http/operations.h only.
    "api/http": ["api/http/*", "policy/json.h", "policy/arena.h", "runtime/base/*",
                 "runtime/link/loop.h"],
    "tests": ["*"],
}
# A pattern's * crosses folders; these are never allowed even if a pattern above fits.
NEVER = {
    "runtime/plan": ["runtime/host/*", "runtime/stage/*", "runtime/agent/*"],
    "runtime/stage": ["runtime/host/*"],
    "runtime/agent": ["runtime/host/*"],
    "runtime/link": ["runtime/host/*", "runtime/stage/*"],
    "runtime/gateway": ["runtime/host/*"],
    "runtime": ["runtime/host/*", "runtime/stage/*", "runtime/agent/*", "runtime/plan/*"],
}

# Plain data that both sides of a boundary share: within runtime/ everybody may include these.
DATA_ONLY = ["runtime/agent/protocol.h"]

# A header that a few files of one module share: nobody else includes it.
INTERNAL = {
    "provider/ledger_internal.h": ["provider/ledger*.c", "tests/unit/ledger_*.c"],
    "provider/ledger_sql.h": ["provider/ledger*.c"],
    "provider/coordinator_internal.h": ["provider/coordinator*.c"],
}

# ---- which file meets which library ------------------------------------------------------------------
LIBRARIES = {
    "seccomp.h": ["runtime/plan/seccomp_build.c", "runtime/plan/gen/*", "tests/unit/seccomp_*.c"],
    "sha256.h": ["runtime/base/sha256.c"],
    "sha2.h": ["runtime/base/sha256.c"],
    "md5.h": [],
    # tests/crash/vfs*.c: a file system that loses and refuses, below SQLite.
    "sqlite3.h": ["provider/ledger_internal.h", "tests/crash/vfs*.c"],
    # docs/adr/0013: the ruleset is written as bytes by a pure plan, and sent as they are.
    "nftables/libnftables.h": [],
    "linux/netlink.h": ["runtime/plan/network_nft_message.h", "runtime/host/network*.c",
                        "runtime/gateway/*", "tests/*"],
    "linux/rtnetlink.h": ["runtime/host/network*.c", "runtime/gateway/*", "tests/*"],
    "ares.h": ["runtime/gateway/resolve.c"],
    "uv.h": ["runtime/link/loop.c"],
    "json-c/json.h": [],
    "sys/capability.h": [],
    "criterion/*": ["tests/unit/*", "tests/kernel/*", "tests/patience.c"],
}

# ---- where system calls that make or enter a sandbox may stand ------------------------------------------
PRIVILEGED_CALLS = ["mount", "umount", "umount2", "unshare", "setns", "clone", "clone3", "pivot_root",
                    "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
                    "mount_setattr", "bpf", "swapon", "init_module", "finit_module", "reboot"]
PRIVILEGED_FOLDERS = ["runtime/host/*", "runtime/stage/*", "tests/*"]
# init starts its commands itself.
PRIVILEGED_EXTRA = {"clone3": ["runtime/agent/*"], "clone": ["runtime/agent/*"]}

# ---- functions that nobody calls, and why -------------------------------------------------------------------
FORBIDDEN = {
    "strcpy": "no bound: use buf or snprintf", "strcat": "no bound: use buf",
    "stpcpy": "no bound: use buf", "strncpy": "leaves no terminator: use snprintf or memcpy",
    "sprintf": "no bound: use snprintf", "vsprintf": "no bound: use vsnprintf",
    "gets": "no bound", "scanf": "no bound", "alloca": "no bound on the stack",
    "system": "runs a shell", "popen": "runs a shell",
    "getpwnam": "NSS in a static program: read /etc/passwd", "getpwuid": "NSS in a static program",
    "getgrnam": "NSS in a static program", "getgrgid": "NSS in a static program",
    "initgroups": "NSS in a static program", "getaddrinfo": "NSS in a static program",
    "gethostbyname": "NSS in a static program", "dlopen": "static program",
    "iconv_open": "static program", "setlocale": "output is bytes, not a language",
    "tmpnam": "race", "mktemp": "race", "tempnam": "race",
    "strtok": "hidden state", "atoi": "no error: use units", "atol": "no error", "atof": "no error",
    "rand": "not random: getrandom", "random": "not random: getrandom",
    "setjmp": "owners would not be released", "longjmp": "owners would not be released",
    "signal": "unportable semantics: sigaction or signalfd", "sleep": "wait for an event, with a deadline",
    "usleep": "wait for an event, with a deadline",
}
# Fixtures copy literals into buffers that they size, and may call the shell; what races may not.
FORBIDDEN_IN_TESTS = ["gets", "tmpnam", "mktemp", "tempnam", "alloca"]
# Libraries return; entry points and the request loop speak.
LIBRARY_FOLDERS = ["runtime/*", "policy/*", "provider/*"]
LIBRARY_SILENCE = ["printf", "vprintf", "puts", "putchar", "perror", "exit", "abort", "syslog", "assert"]
# gen/ is a program that runs while berth is built.
LIBRARY_ENTRY_POINTS = ["runtime/agent/init_main.c", "runtime/gateway/main.c", "runtime/agent/files_main.c", "runtime/plan/gen/*"]

FILE_LINES, FUNCTION_LINES = 600, 100
FOLDERS = ["runtime", "policy", "provider", "api", "tests"]
TEXT_SUFFIXES = (".c", ".h", ".sh", ".py", ".mk", ".md", ".1", ".5", ".7", ".json", ".jsonc", ".bash", ".txt")
TEXT_NAMES = ("Makefile", "run", "run-tests", "run-one", ".clang-tidy", ".clang-format")

# The tree is about itself: no path of the machine it is on, no address that something is fetched from
# (a clean machine brings its own). The few addresses are names of formats and documentation examples.
MACHINE = re.compile(
    re.escape(os.getcwd() + "/") +
    r"|https?://(?!localhost|127\.|\[::1\]|[\w.-]*example\.|[\w.-]+\.example\b|169\.254\.169\.254\b|json-schema\.org/|www\.apache\.org/)[\w-]+\.")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK|TBD)\b")

findings = []


def report(path, line, message):
    findings.append(f"{path}:{line}: {message}")


def fits(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def folder_rule(table, path):
    folder = os.path.dirname(path)
    while folder:
        if folder in table:
            return folder
        folder = os.path.dirname(folder)
    return None


def without_comments_and_strings(text):
    """Same length and lines; what is not code is blanked."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_includes(path, text):
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, flags=re.M):
        line, name = line_of(text, match.start()), match.group(2)
        if match.group(1) == "<":
            for library, owners in LIBRARIES.items():
                if fnmatch.fnmatchcase(name, library) and not fits(path, owners):
                    report(path, line, f"<{name}> is met only in {', '.join(owners) or 'no file'}")
            continue
        rule = folder_rule(INCLUDES, path)
        if name in INTERNAL and not fits(path, INTERNAL[name]):
            report(path, line, f'"{name}" is internal to {", ".join(INTERNAL[name])}')
        if rule is None:
            report(path, line, "a folder without a rule in tests/lint/layers.py")
        elif name in DATA_ONLY and path.startswith("runtime/") and not path.startswith("runtime/base/"):
            continue
        elif fits(name, NEVER.get(rule, [])) or not fits(name, INCLUDES[rule]):
            report(path, line, f'"{name}": {rule} may include only {", ".join(INCLUDES[rule])}'
                               + (f" and never {', '.join(NEVER[rule])}" if rule in NEVER else ""))


CALL = re.compile(r"(?<![\w.>])(\w+)\s*\(")
RAW_CALL = re.compile(r"\bsyscall\s*\(\s*(?:SYS|__NR)_(\w+)")


def check_calls(path, code):
    calls = [(m.start(), m.group(1)) for m in CALL.finditer(code)]
    raw = [(m.start(), m.group(1)) for m in RAW_CALL.finditer(code)]
    for offset, name in calls + raw:
        line = line_of(code, offset)
        if name in PRIVILEGED_CALLS and not fits(path, PRIVILEGED_FOLDERS + PRIVILEGED_EXTRA.get(name, [])):
            report(path, line, f"{name}() stands only under runtime/host and runtime/stage")
        if name in FORBIDDEN and (not path.startswith("tests/") or name in FORBIDDEN_IN_TESTS):
            report(path, line, f"{name}(): {FORBIDDEN[name]}")
        if name in LIBRARY_SILENCE and fits(path, LIBRARY_FOLDERS) and not fits(path, LIBRARY_ENTRY_POINTS):
            report(path, line, f"{name}(): libraries never print, exit or abort")
    for match in re.finditer(r"\bfprintf\s*\(\s*std(?:err|out)\b", code):
        if fits(path, LIBRARY_FOLDERS) and not fits(path, LIBRARY_ENTRY_POINTS):
            report(path, line_of(code, match.start()), "fprintf(): libraries never print, exit or abort")
    for match in re.finditer(r"^\s*goto\b", code, flags=re.M):
        report(path, line_of(code, match.start()) , "goto: release by cleanup attributes")


def check_file_rules(path, text, code):
    generated = "This file is generated" in text[:400]
    if not re.match(r"/\*+\s*(?:\*\s*)?This file\b", text):
        report(path, 1, 'the first comment does not begin with "This file"')
    lines = text.count("\n")
    head = text[:text.find("*/") + 2]
    if lines > FILE_LINES and not generated and not re.search(r"This\s+(?:\*\s+)?file\s+(?:\*\s+)?is\s+(?:\*\s+)?long\s+(?:\*\s+)?because", head):
        report(path, 1, f'{lines} lines: split it, or say "This file is long because" in its first comment')
    code_lines, text_lines = code.split("\n"), text.split("\n")
    start = None
    for number, line in enumerate(code_lines):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start is not None:
            length = number - start + 1
            if length > FUNCTION_LINES and not generated:
                above = "\n".join(text_lines[max(0, start - 25):start + 1])
                if not re.search(r"This\s+(?:\*\s+)?function\s+(?:\*\s+)?is\s+(?:\*\s+)?long\s+(?:\*\s+)?because", above):
                    report(path, start + 1, f'a function of {length} lines: split it, or say "This function is long because" above it')
            start = None
    if path.endswith(".h") and "#pragma once" not in text:
        report(path, 1, "no #pragma once")
    for number, line in enumerate(text_lines, 1):
        match = re.search(r"(NOLINT\w*(?:\([^)]*\))?|cppcheck-suppress(?:\s+\w+|\[[^]]*\]))(.*)", line)
        if match and not re.search(r"[A-Za-z]{3,}.*[A-Za-z]{3,}", match.group(2).replace("*/", "")):
            report(path, number, "a suppression says its reason on the same line")


def check_text(path, text):
    if path == "tests/lint/layers.py":
        return
    for number, line in enumerate(text.split("\n"), 1):
        match = MACHINE.search(line)
        if match:
            report(path, number, f'"{match.group(0)}": a path or host of one machine')
        match = UNFINISHED.search(line)
        if match:
            report(path, number, f'"{match.group(0)}": finish it, or write down what is not offered in docs/')
        if line.rstrip("\n") != line.rstrip() and not path.endswith(".md"):
            report(path, number, "white space at the end of the line")


def tree():
    for name in sorted(os.listdir(".")):
        if os.path.isfile(name):
            yield name
    for top in FOLDERS + ["docs", ".ci"]:
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(f for f in folders if f not in ("corpus", "__pycache__"))
            for name in sorted(names):
                yield os.path.join(folder, name)


def main():
    seen = 0
    for path in tree():
        is_code = path.endswith((".c", ".h"))
        if not is_code and not path.endswith(TEXT_SUFFIXES) and os.path.basename(path) not in TEXT_NAMES:
            continue
        if path in ("compile_commands.json",):
            continue
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        check_text(path, text)
        if not is_code:
            continue
        seen += 1
        code = without_comments_and_strings(text)
        check_includes(path, text)
        check_calls(path, code)
        check_file_rules(path, text, code)
    if seen == 0:
        report(".", 0, "found no source file: run it from the top of the tree")
    print("\n".join(findings), end="\n" if findings else "")
    return 1 if findings else 0


sys.exit(main())
