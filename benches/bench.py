"""Runs the rows of the table and reports them; scripts/bench calls it."""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

import lasting  # noqa: F401  its rows come after those of speed
import report
from sides import BUILT, C_FLAGS, Failed, Sides
from table import ROWS, Skipped


def complain(message, hint, code=2):
    print(f"error: {message}\n\nhint: {hint}", file=sys.stderr)
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        complain(message, "scripts/bench --help tells the options")


def options():
    parser = Parser(prog="scripts/bench", allow_abbrev=False,
                    description="Measures Steadfast side by side with programs that do the same by hand, and with the limits of memory and disk.")
    parser.add_argument("--full", action="store_true", help="all sizes and five pairs of runs each, instead of small ones and three")
    parser.add_argument("--row", action="append", default=[], metavar="NAME", help="this row alone; may be given several times")
    parser.add_argument("--rounds", type=int, metavar="N", help="pairs of runs for each case [default: 3, with --full 5]")
    parser.add_argument("--sweeps", type=int, default=4, metavar="N", help="sweeps an exchange where there are several [default: 4]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every run of Steadfast")
    parser.add_argument("--rustflags", default="", metavar="FLAGS",
                        help="what Rust's side is compiled with besides, as '-C target-cpu=native' [default: nothing]")
    parser.add_argument("--athena", metavar="BINARY", help="Athena++, configured with --prob=blast --flux=hllc -mpi")
    parser.add_argument("--disk", metavar="DIR", default=str(BUILT), help="a directory on the disk to be measured [default: %(default)s]")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--list", action="store_true", help="name the rows, and what each runs")
    chosen = parser.parse_args()
    known = [row.name for row in ROWS]
    for name in chosen.row:
        if name not in known:
            complain(f'"{name}" is no row', f"the rows are {', '.join(known)}")
    if chosen.rounds is not None and chosen.rounds < 1:
        complain(f"--rounds {chosen.rounds} is too few", "it takes at least 1")
    if chosen.sweeps < 2:
        complain(f"--sweeps {chosen.sweeps} is too few", "several are at least 2")
    for setting in chosen.set:
        if "=" not in setting:
            complain(f'--set "{setting}" is no setting', "as in --set run.threads=2")
    if chosen.athena and not shutil.which(chosen.athena):
        complain(f'--athena "{chosen.athena}" is no program', "give the path of Athena++'s binary")
    if chosen.athena:
        chosen.athena = Path(shutil.which(chosen.athena)).resolve()
    BUILT.mkdir(parents=True, exist_ok=True)
    if not os.access(chosen.disk, os.W_OK):
        complain(f'--disk "{chosen.disk}" is no directory that can be written to', "give one on the disk to be measured")
    chosen.rounds = chosen.rounds or (5 if chosen.full else 3)
    return chosen


def measure(case, rounds, label):
    """The pairs of a case, A B A B …"""
    pairs = []
    for turn in range(rounds):
        if sys.stderr.isatty():
            print(f"\r\033[K{label}, {case.label}: pair {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        ours = case.ours()
        pairs.append((ours, case.theirs()))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return pairs


def run_row(row, sides, rounds):
    """Measures a row and prints it, case by case; what goes into results.json."""
    report.print_row(row, sys.stdout)
    outcome = {"name": row.name, "work": row.work, "against": row.against, "says": row.says, "cases": []}
    try:
        for case in row.cases(sides):
            result = report.summary(case, measure(case, rounds, row.name))
            report.print_case(case, result, sys.stdout)
            outcome["cases"].append(result)
        for note in dict.fromkeys(case["note"] for case in outcome["cases"] if case["note"]):
            print(f"  {note}", flush=True)
    except Skipped as reason:
        outcome["skipped"] = str(reason)
        print(f"  skipped: {reason}", flush=True)
    except (Failed, OSError, LookupError, StopIteration, ValueError, TypeError) as reason:
        outcome["failed"] = str(reason)
        print(f"  FAILED: {reason}", flush=True)
    return outcome


def main():
    chosen = options()
    if chosen.list:
        for row in ROWS:
            print(f"{row.name:<18} {row.work}, against {row.against}\n{'':18} {row.says}")
        return 0
    load = os.getloadavg()[0]
    if load > 0.3 * os.cpu_count():
        print(f"warning: the load is {load:.1f}: others compute here, and what is measured beside them is worth little\n", file=sys.stderr)
    sides = Sides(chosen)
    try:
        if not chosen.no_build:
            print("building both sides: some minutes the first time", file=sys.stderr)
            sides.build()
        machine, versions, date = report.machine(), report.versions(), report.date()
        print(f"{date}: {machine['cpu']}, {machine['cores']} cores, {machine['caches']}, {machine['memory_gib']} GiB,"
              f" Linux {machine['kernel']}, huge pages: {machine['huge_pages']}, load {load:.1f}")
        print(f"Steadfast {versions['steadfast']}, {versions['rustc']}, RUSTFLAGS=\"{chosen.rustflags}\"; "
              f"{versions['cc']}, {' '.join(C_FLAGS)}; {versions['mpi']}")
        print(f"{chosen.rounds} pair{'s' * (chosen.rounds > 1)} of runs a case, in turn: the median ratio, and its spread\n")
        report.print_heading(sys.stdout)
        results = {"date": date, "machine": machine, "versions": versions, "load": load, "rounds": chosen.rounds,
                   "full": chosen.full, "rustflags": chosen.rustflags, "c_flags": C_FLAGS, "set": chosen.set, "rows": []}
        for row in ROWS:
            if not chosen.row or row.name in chosen.row:
                results["rows"].append(run_row(row, sides, chosen.rounds))
                report.write_json(BUILT / "results.json", results)
    except Failed as reason:
        complain(str(reason), "run the command that failed by hand", code=1)
    finally:
        sides.close()

    cases = [case for row in results["rows"] for case in row["cases"]]
    failed = [row["name"] for row in results["rows"] if "failed" in row]
    reached = sum(case["reached"] for case in cases)
    plotted = report.write_plot(BUILT / "ratios.svg", results)
    print(f"\n{len(cases)} cases, {reached} goals reached, {len(cases) - reached} not; {BUILT}/results.json{f', {BUILT}/ratios.svg' if plotted else ''}")
    if failed:
        complain(f"these rows could not be measured: {', '.join(failed)}", "their reasons stand in the table", code=1)
    return 0


if __name__ == "__main__":
    # So that what runs is ended, and what was written removed.
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
