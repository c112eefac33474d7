"""Simulates all policies that ship on all traces of a directory, and writes the comparison as a page with pictures.

    compare.py PROGRAM PLUGINS TRACES PAGE

The table and the verdict are computed; the text around them is in this file. `make policies` calls it.
"""

import html
import json
import os
import pathlib
import subprocess
import sys

# `fixed` is left out: it has no number that suits every trace.
CLASSICAL = ["step", "backlog", "utilization", "kpa", "drain"]
OWN = ["objective"]
MODEL = ["--arrival-scale", "20", "--service", "exponential:200ms", "--slo-ms", "1000"]
SHARE = 0.99
# A decision a second is more than two weeks of five-minute counts can tell apart, and than anybody would wait for.
LONG = 2 * 24 * 3600
LONG_INTERVAL = "10s"

INTRODUCTION = """\
# The policies that ship, compared

Written by `make policies TRACES=DIR`; do not edit it, edit `guest-policies/compare.py`. Each policy at its defaults, simulated with

    tidegate simulate --trace TRACE {model} --policy ...

that is: each row's count times 20, handler calls of 200 ms on average, a decision a second if nothing else is said, workers that start at once. The
objective: 99 % of the messages begin within 1 s of their arrival. The bound is what no policy can go below.

The classical policies have the defaults of what they are named after, and those were made for something else: `kpa` counts on pods that
handle 100 requests at once, `drain` allows a backlog 20 s, `backlog` allows each worker ten messages, `step` takes a worker for good for 500
messages a second. With settings for this workload they do better; each README says which setting is which. So what the tables show is
not which rule is the best, but what each does where nobody has set anything. `objective` is the only one whose settings are the objective itself,
and its defaults are the objective of this page. [At the end](#where-workers-start-slowly)
workers do not start at once.
"""

SLOW = """\
## Where workers start slowly

The same traces, and workers that take 30 s to start. `objective` is told (`start-delay = "30s"`); where it counts with no bursts it has
`burst-memory = "0s"`, too.

    tidegate simulate --trace TRACE {model} --start-delay 30s --policy ...

What these tables show is what a start delay costs. Workers that stand by for a burst are the only ones that it meets, so the objective is met where
bursts come often enough to be known, for a multiple of the worker-seconds. It is not met where they come too seldom: the day of `twitter-day0` has
three that triple the rate within a minute and come from nowhere.
"""
SLOW_VARIANTS = [
    ("objective", "start-delay=30s"),
    ("objective, no bursts", "start-delay=30s burst-memory=0s"),
    ("objective, not told", "start-delay=0s"),
]


def simulate(program, plugins, names, arguments, directory):
    """In this directory, since pictures and reports name a trace as it is given."""
    command = [program, "simulate", *arguments, "--output", "json"]
    for name in names:
        command += ["--policy", os.path.join(plugins, name + ".wasm")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, cwd=directory)
    if done.returncode != 0:
        sys.exit(f"compare.py: {' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout)


def interval(trace):
    """How often is decided: the last second of a trace says how long it is."""
    second = trace.read_text(encoding="utf-8").split()[-1].split(",")[0]
    return ["--interval", LONG_INTERVAL] if second.isdigit() and int(second) > LONG else []


def meets(row):
    return row["over_slo"] <= 1 - SHARE + 1e-12


def table(report):
    lines = [
        "| policy | worker-seconds | to the bound | over 1 s | wait p50 | p95 | p99 | most workers | changes | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in sorted(report["policies"], key=lambda row: (not meets(row), row["worker_seconds"])):
        waits = [f"{row['wait_ms'][p] / 1000:.2f} s" for p in ("p50", "p95", "p99")]
        ratio = f"{row['ratio_to_bound']:.2f}" if meets(row) and row["ratio_to_bound"] else ""
        verdict = "" if meets(row) else "misses the objective"
        cells = [f"`{row['name']}`", f"{row['worker_seconds']:,.0f}", ratio, f"{row['over_slo'] * 100:.2f} %", *waits]
        cells += [f"{row['peak_workers']:,}", f"{row['scalings']:,}", verdict]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"| bound | {report['bound']['worker_seconds']:,.0f} | 1.00 | | | | | | | |")
    return "\n".join(lines)


def verdict(report):
    good = sorted((row for row in report["policies"] if meets(row)), key=lambda row: row["worker_seconds"])
    if not good:
        return "No policy meets the objective."
    best = good[0]
    text = f"`{best['name']}` meets the objective with the fewest worker-seconds"
    text += f", {best['ratio_to_bound']:.2f} times the bound" if best["ratio_to_bound"] else ""
    classical = [row for row in good if row["name"] in CLASSICAL]
    if not classical:
        return text + "; no classical policy meets it at its defaults."
    if best["name"] in CLASSICAL:
        return text + "."
    row = classical[0]
    return text + f"; the first of the classical ones is `{row['name']}` with {row['worker_seconds'] / best['worker_seconds']:.2f} times as many."


def picture(name, report):
    """One bar a policy: its worker-seconds; pale where it misses the objective. Long ones are cut off."""
    rows = report["policies"]
    bound = report["bound"]["worker_seconds"] or 1.0
    longest = 3.0
    left, width, height = 110, 480, 26
    total = 70 + height * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{total}" font-family="sans-serif" font-size="13">',
        f'<rect width="760" height="{total}" fill="white"/>',
        f'<text x="10" y="22" font-weight="bold">{html.escape(name)}: worker-seconds, as multiples of the bound</text>',
    ]
    for index, row in enumerate(rows):
        y = 38 + index * height
        ratio = row["worker_seconds"] / bound
        length = min(ratio, longest) / longest * width
        color = ("#1b7a4b" if row["name"] in OWN else "#2a6fb0") if meets(row) else "#d0d0d0"
        note = f"{ratio:.2f}" + ("" if meets(row) else f", misses: {row['over_slo'] * 100:.1f} % over 1 s")
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(row["name"])}</text>')
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{height - 8}" fill="{color}"/>')
        inside = length > width / 2
        x, anchor, fill = (left + length - 6, "end", "white" if meets(row) else "black") if inside else (left + length + 6, "start", "black")
        parts.append(f'<text x="{x:.1f}" y="{y + 15}" text-anchor="{anchor}" fill="{fill}">{note}</text>')
    x = left + width / longest
    bottom = 38 + height * len(rows)
    parts.append(f'<line x1="{x:.1f}" y1="34" x2="{x:.1f}" y2="{bottom}" stroke="black" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">the bound</text></svg>')
    return "\n".join(parts) + "\n"


def slow(program, plugins, trace, directory):
    """The variants of `objective`, each under its own name."""
    settings = []
    for index, (_, words) in enumerate(SLOW_VARIANTS):
        name = "objective" if index == 0 else f"objective-{index + 1}"
        settings += [part for word in words.split() for part in ("--policy-setting", f"{name}.{word}")]
    arguments = ["--trace", trace.name, *MODEL, "--start-delay", "30s", *interval(trace), *settings]
    report = simulate(program, plugins, ["objective"] * len(SLOW_VARIANTS), arguments, directory)
    for row, (name, _) in zip(report["policies"], SLOW_VARIANTS):
        row["name"] = name
    return report


def write(path, text):
    """Whole or not at all."""
    part = path.with_name("." + path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    program, plugins, directory, page = map(os.path.abspath, sys.argv[1:])
    traces = sorted(pathlib.Path(directory).glob("*.csv"))
    if not traces:
        sys.exit(f"compare.py: there is no .csv file in {directory}; TRACES names a directory of traces with the columns second,arrivals")
    page = pathlib.Path(page)
    pictures = page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION.format(model=" ".join(MODEL))]
    for trace in traces:
        print(f"simulating {trace.stem}", file=sys.stderr)
        plot, often = str(pictures / f"{trace.stem}-time.svg"), interval(trace)
        report = simulate(program, plugins, CLASSICAL + OWN, ["--trace", trace.name, *MODEL, *often, "--plot", plot], directory)
        write(pictures / f"{trace.stem}.svg", picture(trace.stem, report))
        parts.append(f"## {trace.stem}\n")
        if often:
            parts.append(f"Longer than two days: with `{' '.join(often)}`, a decision each {LONG_INTERVAL[:-1]} s.\n")
        parts += [verdict(report) + "\n", f"![worker-seconds]({pictures.name}/{trace.stem}.svg)\n", table(report) + "\n"]
        parts.append(f"![over time]({pictures.name}/{trace.stem}-time.svg)\n")
    parts.append(SLOW.format(model=" ".join(MODEL)))
    for trace in traces:
        print(f"simulating {trace.stem}, with workers that start slowly", file=sys.stderr)
        parts += [f"### {trace.stem}\n", table(slow(program, plugins, trace, directory)) + "\n"]
    write(page, "\n".join(parts))


main()
