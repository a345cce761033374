#!/usr/bin/env python3
"""This file prints where a start goes: percentiles of "phase_us" over the result records in
argv[1] (one JSON document after another), and appends a JSON line per phase to argv[2]."""

import json
import sys


def documents(text):
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        document, at = decoder.raw_decode(text, at)
        yield document


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * (len(values) - 1) + 0.5))]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        records = [d["effective"]["phase_us"] for d in documents(file.read())]
    if not records:
        print("phases: there is no result record")
        return 1
    print(f"phases: {len(records)} runs of /bin/true, microseconds")
    print(f"  {'':24} {'p50':>10} {'p95':>10} {'p99':>10}")
    with open(sys.argv[2], "a", encoding="utf-8") as results:
        for phase in records[0]:
            values = [record[phase] for record in records if phase in record]
            p50, p95, p99 = (percentile(values, part) for part in (0.5, 0.95, 0.99))
            print(f"  {phase:24} {p50:10.0f} {p95:10.0f} {p99:10.0f}")
            json.dump({"title": "phases", "phase": phase, "runs": len(values), "p50_us": p50,
                       "p95_us": p95, "p99_us": p99}, results)
            results.write("\n")
    return 0


sys.exit(main())
