"""What was measured, for people and for programs: the table, results.json, and a plot."""

import json
import math
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from statistics import median


def said(*words):
    """The first line that a program prints."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        return (done.stdout or done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


def read(path, default=""):
    try:
        return Path(path).read_text()
    except OSError:
        return default


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", read("/proc/cpuinfo"))
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if read(index / "type").strip() != "Instruction":
            size = int(read(index / "size").strip().rstrip("K") or 0)
            level = read(index / "level").strip()
            caches.append(f"L{level} {size // 1024} MiB" if size >= 1024 else f"L{level} {size} KiB")
    memory = re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))
    return {
        "cpu": cpu[1] if cpu else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "caches": ", ".join(caches),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "huge_pages": re.sub(r".*\[(\w+)\].*", r"\1", read("/sys/kernel/mm/transparent_hugepage/enabled").strip()),
    }


def versions():
    revision = said("git", "rev-parse", "--short", "HEAD")
    changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout
    return {
        "steadfast": revision + (" with changes" if changed else ""),
        "rustc": said("rustc", "--version"),
        "cc": said("mpicc", "--version"),
        "mpi": said("mpirun", "--version"),
        "python": platform.python_version(),
    }


def date():
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def bold(text, stream):
    return f"\033[1m{text}\033[0m" if stream.isatty() and not os.environ.get("NO_COLOR") else text


def combined(goal, ours, theirs):
    return ours - theirs if goal.difference else ours / theirs


def summary(case, pairs):
    """What pairs come to, as it goes into results.json."""
    values = [combined(case.goal, ours, theirs) for ours, theirs in pairs]
    return {
        "label": case.label,
        "unit": case.unit,
        "goal": {key: value for key, value in vars(case.goal).items() if value is not None},
        "pairs": [{"ours": ours, "theirs": theirs, "value": value} for (ours, theirs), value in zip(pairs, values)],
        "ours": median(ours for ours, _ in pairs),
        "theirs": median(theirs for _, theirs in pairs),
        "median": median(values),
        "least": min(values),
        "most": max(values),
        "reached": case.goal.reached(median(values)),
        "note": case.note,
    }


COLUMNS = "{:<38} {:>11} {:>11} {:<10} {:>8}   {:<17} {:<9} {}"


def print_heading(out):
    print(COLUMNS.format("", "Steadfast", "other", "", "ratio", "(least to most)", "goal", ""), file=out)


def number(value):
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def print_row(row, out):
    print(bold(f"\n{row.work}  against  {row.against}", out), file=out, flush=True)


def print_case(case, result, out):
    sign = "+" if case.goal.difference else ""
    spread = f"({result['least']:{sign}.3f} to {result['most']:{sign}.3f})"
    verdict = "reached" if result["reached"] else "NOT REACHED"
    ratio = f"{result['median']:{sign}.3f}"
    line = COLUMNS.format("  " + case.label, number(result["ours"]), number(result["theirs"]), case.unit, ratio, spread, str(case.goal), verdict)
    print(line.rstrip(), file=out)
    out.flush()


def write_json(path, results):
    Path(path).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def write_plot(path, results):
    """How far each ratio lies beyond its goal, on a logarithmic scale: a dot for the median, a line from least to most."""
    lines = []
    for row in results["rows"]:
        cases = [case for case in row.get("cases", []) if not case["goal"].get("difference")]
        if cases:
            lines.append((f"{row['work']}, against {row['against']}", None))
            lines += [(case["label"], case) for case in cases]
    if not lines:
        return False

    def beyond(case, value):
        goal = case["goal"]
        value = max(value, 1e-9)
        return value / goal["least"] if "least" in goal else goal["most"] / value

    left, width, step, top = 300, 560, 18, 44
    extremes = [beyond(case, case[key]) for _, case in lines if case for key in ("least", "most")]
    low = math.floor(2 * math.log2(min(0.5, *extremes))) / 2
    high = math.ceil(2 * math.log2(max(2.0, *extremes))) / 2

    def x(value):
        return left + width * (math.log2(value) - low) / (high - low)

    height = top + step * len(lines) + 30
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 40}" height="{height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="16" font-size="13">Measured over asked for: right of 1 a goal is reached</text>',
        f'<text x="{left}" y="31" fill="#666">{escape(results["date"])}, {escape(results["machine"]["cpu"])}, {results["machine"]["cores"]} cores, median and spread of {results["rounds"]}</text>',
    ]
    bottom = top + step * len(lines) + 4
    for power in range(math.ceil(low), math.floor(high) + 1):
        place, heavy = x(2.0**power), power == 0
        svg.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{top}" y2="{bottom}" stroke="{"#222" if heavy else "#ddd"}"/>')
        svg.append(f'<text x="{place:.1f}" y="{bottom + 14}" text-anchor="middle">{2.0**power:g}</text>')
    for index, (label, case) in enumerate(lines):
        y = top + step * index + 13
        if case is None:
            # Above the grid, which it may reach into.
            svg.append(f'<rect x="0" y="{y - 12}" width="{8 + 6.6 * len(label):.0f}" height="{step - 2}" fill="white"/>')
            svg.append(f'<text x="8" y="{y}" font-weight="bold">{escape(label)}</text>')
            continue
        svg.append(f'<text x="{left - 10}" y="{y}" text-anchor="end">{escape(label)}</text>')
        places = sorted(x(beyond(case, case[key])) for key in ("least", "most"))
        colour = "#1b7f3b" if case["reached"] else "#c0392b"
        svg.append(f'<line x1="{places[0]:.1f}" x2="{places[1]:.1f}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>')
        svg.append(f'<circle cx="{x(beyond(case, case["median"])):.1f}" cy="{y - 4}" r="4" fill="{colour}"/>')
    svg.append("</svg>")
    Path(path).write_text("\n".join(svg) + "\n")
    return True
