"""This file holds what --help says against the man pages and the completions: the same commands, verbs and options in each. It
starts no session and no service; `berth --help` is what is right."""

import os
import re
import subprocess

BERTH = os.environ["BERTH"]
GROUPS = {}
WHOLE = {"policy", "ledger", "token"}  # their pages have one list for all verbs


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def help_of(*words):
    return subprocess.run([BERTH, *words, "--help"], stdout=subprocess.PIPE, check=True, text=True).stdout


def listed(page, title):
    return re.findall(r"^  ([a-z]+)  ", page.split(title, 1)[1], re.M) if title in page else []


def options(page):
    return set(re.findall(r"^  (?:-\w, )?--([a-z-]+)", page, re.M))


def commands():
    """Each command as its words, with the verbs of groups."""
    for name in listed(help_of(), "\nCommands:\n"):
        verbs = listed(help_of(name), "\nVerbs:\n")
        if name == "policy":
            verbs = sorted(set(re.findall(r"berth policy ([a-z]+) ", help_of(name))) - {"VERB"})
        GROUPS[name] = verbs
        for verb in verbs:
            yield (name, verb)
        if not verbs and name != "help":
            yield (name,)


def man(words):
    """The options of the part of a page that is about one command, with those that all of them share."""
    page = text("docs/man/berth-%s.1" % words[0])
    if page.startswith(".so man1/"):
        page = text("docs/man/" + page.split("/", 1)[1].strip())
    own = re.search(r"^\.Ss berth %s\n(.*?)(?=^\.S[sh] )" % " ".join(words), page, re.M | re.S)
    if own and words[0] not in WHOLE:
        page = own[1] + re.search(r"^\.Sh OPTIONS\n(.*?)(?=^\.Sh )", page, re.M | re.S)[1]
    return set(re.findall(r"(?:Fl |Cm |\| )(?:\\-)+([a-z-]+)", page))


def completed(*words):
    script = 'compopt() { :; }; . api/cli/completion/berth.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _berth; printf "%s\\n" "${COMPREPLY[@]}"'
    out = subprocess.run(["bash", "-c", script, "bash", "berth", *words], stdout=subprocess.PIPE, check=True, text=True).stdout
    return set(out.split())


def differ(real, other):
    return " ".join(["+" + name for name in sorted(real - other)] + ["-" + name for name in sorted(other - real)])


failed = 0


def told(name, wrong):
    global failed
    failed += bool(wrong)
    print("not ok %s: %s" % (name, wrong) if wrong else "ok " + name)


everything = list(commands())
own = {words: options(help_of(*words)) | {"help"} for words in everything}
for words, real in own.items():
    name = " ".join(words)
    told("a man page has the options of " + name, differ(real, man(words) & real if words[0] in WHOLE else man(words)))
    said = {o[2:] for o in completed(*words, "--") if o.startswith("--") and o != "--"}
    told("bash completes the options of " + name, differ(real, said))
zsh = text("api/cli/completion/_berth")
told("zsh knows every option", " ".join(sorted({o for real in own.values() for o in real if "--" + o not in zsh})))
names = {name for name in GROUPS}
told("bash completes the commands", differ(names, completed("")))
told("bash completes behind options of berth", differ({"session", "serve"}, completed("--host", "unix", ":", "/x", "-w", "ci", "se")))
for group, verbs in GROUPS.items():
    if verbs:
        told("bash completes the verbs of " + group, differ(set(verbs), completed(group, "")))
told("zsh knows every command and verb", " ".join(sorted(w for w in names | {v for vs in GROUPS.values() for v in vs} if not re.search(r"\b%s\b" % w, zsh))))
raise SystemExit(1 if failed else 0)
