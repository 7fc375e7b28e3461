#!/usr/bin/env python3
"""Draws SVG charts beside itself from the JSON lines of downbeat-bench.

    downbeat-bench --json > lines.json && bench/charts/draw.py lines.json

Several files, or several lines of one workload: the median counts. Standard library only.
"""

import json
import pathlib
import statistics
import sys
from xml.sax.saxutils import escape

# File, title, key, and the workloads whose lines it shows.
CHARTS = [
    ("throughput", "Subtasks per second", "subtasks_per_s", {"fanout", "diamond", "three-steps", "replicas"}),
    ("ratio", "Throughput to the bare database's", "ratio", {"fanout", "diamond", "three-steps", "replicas"}),
    ("hop", "One hop, median, in ms", "hop_ms_p50", {"chain", "mixed"}),
    ("start", "From submission to start, median, in ms", "start_ms_p50", {"start"}),
    ("task", "Task of three steps, median, in ms", "task_ms_p50", {"three-steps"}),
    ("beside", "Throughput to that of the run without", "ratio_to_base", {"backlog", "held-xmin", "replicas"}),
]
COLOURS = {"postgres": "#33658a", "sqlite": "#86bbd8"}
WIDTH, LABEL, BAR, GAP, TOP = 720, 220, 18, 8, 48


def lines(paths):
    for path in paths:
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def bars(found, key, workloads):
    values = {}
    for line in found:
        if line["workload"] in workloads and key in line:
            name = " ".join(filter(None, [line["workload"], line.get("variant")]))
            values.setdefault((name, line["engine"]), []).append(line[key])
    return [(name, engine, statistics.median(several)) for (name, engine), several in values.items()]


def shown(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def svg(title, rows):
    height = TOP + len(rows) * (BAR + GAP)
    most = max(value for _, _, value in rows) or 1
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="26" font-size="16">{escape(title)}</text>',
    ]
    for number, (name, engine, value) in enumerate(rows):
        y = TOP + number * (BAR + GAP)
        width = (WIDTH - LABEL - 90) * value / most
        out.append(f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(name)}, {engine}</text>')
        out.append(f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[engine]}"/>')
        out.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + 14}">{shown(value)}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = list(lines(sys.argv[1:]))
    for file, title, key, workloads in CHARTS:
        rows = bars(found, key, workloads)
        if rows:
            pathlib.Path(__file__).with_name(f"{file}.svg").write_text(svg(title, rows))


if __name__ == "__main__":
    main()
