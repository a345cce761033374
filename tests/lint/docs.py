#!/usr/bin/env python3
"""This file checks what README.md says against the tree: the options of `berth run`, make's targets
and the pages that it links to. It prints one line per disagreement; it never changes a file."""

import os
import re
import sys

findings = []


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def compare(what, documented, real):
    for name in sorted(real - documented):
        findings.append(f"README.md: {what} {name} exists and is not mentioned")
    for name in sorted(documented - real):
        findings.append(f"README.md: {what} {name} is mentioned and does not exist")


def main():
    readme = read("README.md")
    table = readme[readme.index("## Options of"):readme.index("## Exit status")]
    rows = "\n".join(line.split("|")[1] + line.split("\\|")[0] for line in table.splitlines() if line.startswith("| `"))
    source = read("api/cli/run_options.c")
    compare("option", set(re.findall(r"--([a-z][a-z-]+)", rows)),
            set(re.findall(r'^    \{"([a-z][a-z-]+)", (?:NULL|")', source, flags=re.M)))

    targets = set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), flags=re.M))
    for name in sorted(set(re.findall(r"`make ([a-z-]+)`", readme)) - targets):
        findings.append(f"README.md: make {name} is mentioned and does not exist")

    for folder, _, names in [("", None, ["README.md"])] + list(os.walk("docs")):
        for name in names:
            if not name.endswith(".md"):
                continue
            page = os.path.join(folder, name)
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page)):
                if not os.path.exists(os.path.join(folder, target)):
                    findings.append(f"{page}: links to {target}, which does not exist")
    print("\n".join(findings), end="\n" if findings else "")
    return 1 if findings else 0


sys.exit(main())
