# This file reads metrics as strictly as the checker of a monitoring system, and more: who serves them
# promises closed sets of labels. It never asks for them: text comes on standard input.
#
#   prometheus.py [NAME OPERATOR VALUE]…   OPERATOR: = or >=; NAME may have {label="value"}
#   prometheus.py --page docs/operations.md   the page's tables have each of them, its labels and its values, and nothing else;
#                                             so have its alerts
import re, sys

FAMILY = re.compile(r"berth_[a-z][a-z0-9]*(?:_[a-z0-9]+)*$")
LABEL = re.compile(r'([a-z][a-z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')
SAMPLE = re.compile(r"([a-z][a-z0-9_]*)(?:\{([^}]*)\})? (\S+)$")
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?$")
# What a label may say is a word of berth's own, a status, a bound or a version: nothing longer.
WORD = re.compile(r"[A-Za-z0-9_.+-]{1,48}$")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
UNITS = ("_total", "_seconds")


def refuse(number, line, why):
    sys.exit(f"line {number}: {why}: {line}")


def parse_labels(number, line, text):
    labels, at = {}, 0
    while text is not None and at < len(text):
        match = LABEL.match(text, at)
        if not match or not WORD.match(match[2]) or match[1] in labels:
            refuse(number, line, "a label that is none")
        labels[match[1]] = match[2]
        at = match.end()
        if at < len(text):
            if text[at] != "," or at + 1 == len(text):
                refuse(number, line, "labels that are not separated")
            at += 1
    return labels


def parse(text):
    """families: name -> (type, label names), samples: (name, labels) -> value"""
    families, samples, helped, current = {}, {}, set(), None
    if not text.endswith("\n"):
        sys.exit("the last line has no end")
    for number, line in enumerate(text[:-1].split("\n"), 1):
        if line.startswith("# HELP "):
            name, _, said = line[7:].partition(" ")
            if not FAMILY.match(name) or name in helped or not said:
                refuse(number, line, "a help that is none")
            helped.add(name)
            current = None
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            if name not in helped or name in families or kind not in SUFFIXES:
                refuse(number, line, "a type that is none")
            if (kind == "counter") != name.endswith("_total"):
                refuse(number, line, "counters, and they alone, end with _total")
            families[name] = (kind, None)
            current = name
        else:
            match = SAMPLE.match(line)
            if not match or not NUMBER.match(match[3]) or current is None:
                refuse(number, line, "no sample of the family before it")
            kind, names = families[current]
            if match[1] not in [current + suffix for suffix in SUFFIXES[kind]]:
                refuse(number, line, f"no sample of {current}")
            labels = parse_labels(number, line, match[2])
            own = tuple(sorted(set(labels) - {"le"}))
            if (kind == "histogram") != ("le" in labels) and match[1].endswith("_bucket"):
                refuse(number, line, "a bucket without a bound")
            if names is not None and names != own:
                refuse(number, line, "other labels than the sample before it")
            families[current] = (kind, own)
            key = (match[1], tuple(labels.items()))
            if key in samples:
                refuse(number, line, "a second time")
            samples[key] = float(match[3])
    for name in helped - set(families):
        sys.exit(f"{name} has no type")
    for name, (kind, names) in families.items():
        if names is None:
            sys.exit(f"{name} has no sample")
        if kind == "histogram":
            check_histogram(name, samples)
    return families, samples


def check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        if sample == name + "_bucket":
            own = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(own, []).append((float(dict(labels)["le"]), value))
    for own, buckets in series.items():
        if buckets != sorted(buckets) or [v for _, v in buckets] != sorted(v for _, v in buckets):
            sys.exit(f"{name}{own} is not cumulative")
        count = samples.get((name + "_count", own))
        if buckets[-1][0] != float("inf") or buckets[-1][1] != count:
            sys.exit(f"{name}{own}: its last bucket is not its count")
        if (name + "_sum", own) not in samples:
            sys.exit(f"{name}{own} has no sum")


def values_of(samples, name, label):
    return {dict(labels)[label] for (sample, labels) in samples if sample == name and label in dict(labels)}


def check_row(families, samples, names, said):
    """`label`, `label`: value, value"""
    labels = re.findall(r"`(\w+)`", said)
    values = re.findall(r"[\w.]+", said.rpartition(":")[2]) if ":" in said else []
    for name in names:
        if name not in families:
            sys.exit(f"{name} is not told")
        if sorted(labels) != list(families[name][1]):
            sys.exit(f"{name} has the labels {families[name][1]}, not {labels}")
        sample = name + ("_count" if families[name][0] == "histogram" else "")
        for label in labels[:1] if name == "berth_operation_duration_seconds" else labels[-1:] if values else []:
            if values_of(samples, sample, label) != set(values):
                sys.exit(f"{label} of {name} is one of {values_of(samples, sample, label)}, not of {values}")


def check_alert(families, samples, text):
    """Each name is one that is told, each label has the value that it is compared with."""
    named = re.findall(r"(berth_[a-z_]+)(?:\{([^}]*)\})?", text)
    for name, matchers in named:
        if name not in families and not any(name == sample for sample, _ in samples):
            sys.exit(f"an alert has {name}, which is not told")
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            for one in re.split(r"\\?\|", value):
                if one not in values_of(samples, name, label):
                    sys.exit(f'an alert has {name} with {label}="{one}", which is not told')
    return len(named)


def check_page(families, samples, path):
    with open(path, encoding="utf-8") as file:
        metrics, alerts = file.read().split("\n## Metrics\n")[1].split("\n## ")[0].split("\n### Alerts\n")
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in metrics.splitlines() if line.startswith("| `berth_")]
    documented = set()
    for cells in rows:
        names = re.findall(r"`(berth_\w+)`", cells[0])
        documented |= set(names)
        check_row(families, samples, names, cells[1])
    if set(families) - documented:
        sys.exit(f"{path} has no {sorted(set(families) - documented)}")
    alerted = sum(check_alert(families, samples, line) for line in alerts.splitlines() if line.startswith("| "))
    if len(documented) < 20 or alerted < 10:
        sys.exit(f"{path} was not read: {len(documented)} rows, {alerted} names in alerts")


def main():
    families, samples = parse(sys.stdin.buffer.read().decode("ascii"))
    if sys.argv[1:2] == ["--page"]:
        check_page(families, samples, sys.argv[2])
        return
    said = {}
    for (name, labels), value in samples.items():
        inner = ",".join(f'{key}="{text}"' for key, text in labels)
        said[name + (f"{{{inner}}}" if inner else "")] = value
    for asked in sys.argv[1:]:
        name, operator, wanted = re.fullmatch(r"(.*?)(>=|=)([0-9.]+)", asked.replace(" ", "")).groups()
        value = said.get(name)
        if value is None or not (value == float(wanted) or operator == ">=" and value > float(wanted)):
            sys.exit(f"{name} is {value}, not {operator} {wanted}")


main()
