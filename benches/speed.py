"""The rows on the speed of steps and of messages."""

import math
import re
from functools import partial

from sides import BUILT, Failed, last_json
from table import Case, Goal, Skipped, row

LAYOUTS = [(1, 1), (2, 1), (1, 2)]


def layout(ranks, threads):
    return f"{ranks} rank{'s' * (ranks > 1)}" if threads == 1 else f"{ranks} × {threads} threads"


# Steps on cubes of n³ cells.

STILL = {"checkpoint.every": "never", "checkpoint.verify": "none"}


def steps_for(sides, n, cores=1):
    """As many steps as take about a second in the short form and four in the full one; a multiple of all sweeps an exchange."""
    updates = (4e9 if sides.options.full else 1e9) * cores
    return max(8, round(updates / n**3 / 8) * 8)


def euler_forward(n, steps, **more):
    return {"grid.cells": [n] * 3, "time.max_steps": steps, "time.integrator": "forward_euler", **STILL, **more}


def heat_settings(n, steps, sweeps=1, **more):
    """The steps of benches/heat.c: κ Δt / h² = 0.1."""
    step = {"time.cfl": "", "time.step": 1 / n**2, "time.end": 1e9}
    return euler_forward(n, steps, **{**step, "run.sweeps_per_exchange": sweeps, **more})


def gray_scott_settings(n, steps):
    """The steps of benches/gray_scott.c: cells of side 1/80, a step of 1."""
    side = {"grid.lower": -n / 160, "grid.upper": n / 160}
    return euler_forward(n, steps, **{"time.step": 1.0, "time.end": 1e9, **side})


def updates(sides, example, settings, n, steps, ranks, threads):
    """Million cell updates per second of an example."""
    run = sides.run(example, settings, ranks=ranks, threads=threads)
    return n**3 * steps / run.loop_seconds() / 1e6


def by_hand(sides, program, n, steps, ranks, threads, *words):
    """Million cell updates per second of a program in C."""
    return sides.opponent(program, n, steps, *words, ranks=ranks, threads=threads)["million_updates_per_second"]


PLAIN = ("--stores", "plain", "--pages", "small")
STREAMING = ("--stores", "streaming", "--pages", "huge")


def against_by_hand(sides, example, sizes, layouts, words, goal, settings):
    for n in sizes:
        for ranks, threads in layouts:
            steps = steps_for(sides, n, ranks * threads)

            def ours(n=n, ranks=ranks, threads=threads, steps=steps):
                return updates(sides, example, settings(n, steps), n, steps, ranks, threads)

            def theirs(n=n, ranks=ranks, threads=threads, steps=steps):
                return by_hand(sides, example, n, steps, ranks, threads, *words)

            yield Case(f"{n}³, {layout(ranks, threads)}", "M cells/s", ours, theirs, goal)


def sizes_of(sides):
    return [128, 256, 384] if sides.options.full else [128, 256]


@row("heat", "heat 3-D, one sweep an exchange", "C + MPI by hand, plain stores")
def heat(sides):
    """examples/heat (forward Euler) and benches/heat.c --stores plain on the same periodic cube, after the same steps."""
    same_answer(sides)
    yield from against_by_hand(sides, "heat", sizes_of(sides), LAYOUTS, PLAIN, Goal(least=1.0), heat_settings)


@row("heat-streaming", "heat 3-D, one sweep an exchange", "C + MPI by hand, streaming stores, huge pages")
def heat_streaming(sides):
    """The same against benches/heat.c --stores streaming --pages huge, which moves 16 bytes a cell instead of 24."""
    yield from against_by_hand(sides, "heat", sizes_of(sides), LAYOUTS, STREAMING, Goal(least=0.95), heat_settings)


@row("sweeps", "heat 3-D, several sweeps an exchange", "C + MPI by hand, plain stores")
def sweeps(sides):
    """The same with run.sweeps_per_exchange = 4 (--sweeps) against benches/heat.c --stores plain, one sweep an exchange."""
    yield from several_sweeps(sides, PLAIN, Goal(least=1.5))


@row("sweeps-streaming", "heat 3-D, several sweeps an exchange", "C + MPI by hand, streaming stores, huge pages")
def sweeps_streaming(sides):
    """The same with run.sweeps_per_exchange = 4 (--sweeps) against benches/heat.c --stores streaming --pages huge."""
    yield from several_sweeps(sides, STREAMING, Goal(least=1.15))


def several_sweeps(sides, words, goal):
    def settings(n, steps):
        return heat_settings(n, steps, sides.options.sweeps)

    yield from against_by_hand(sides, "heat", [256, 384] if sides.options.full else [256], LAYOUTS, words, goal, settings)


def same_answer(sides):
    """Both sides of the row heat must compute the same: the largest value after some steps, which a formula has as well."""
    n, steps = 32, 40
    settings = heat_settings(n, steps, **{"output": "[{what='totals',every={steps=%d}}]" % steps})
    table = (sides.run("heat", settings).directory / "output/totals.csv").read_text().splitlines()
    rows = [line for line in table if line and not line.startswith("#")]
    column = next(i for i, name in enumerate(rows[0].split(",")) if "max" in name)
    decay = (1 - 0.6 * (1 - math.cos(2 * math.pi / n))) ** steps
    ours = float(rows[-1].split(",")[column]) / float(rows[1].split(",")[column])
    theirs = (sides.opponent("heat", n, steps)["check"] / (n**3 / 8)) ** 0.5
    if max(abs(ours / decay - 1), abs(theirs / decay - 1)) > 1e-12:
        raise Failed(f"the two sides compute something else: a mode decays by {ours} and {theirs} instead of {decay}")


@row("bandwidth", "the plain sweep, heat 3-D", "STREAM bandwidth / 24 bytes a cell")
def bandwidth(sides):
    """examples/heat at 384³ (short: 256³) and benches/triad.c on the same cores: the best of copy and triad, plain and streaming."""
    n = 384 if sides.options.full else 256
    for ranks, threads in LAYOUTS:
        steps = steps_for(sides, n, ranks * threads)

        def ours(ranks=ranks, threads=threads, steps=steps):
            return updates(sides, "heat", heat_settings(n, steps), n, steps, ranks, threads)

        def theirs(ranks=ranks, threads=threads):
            rates = sides.opponent("triad", 256, 20, ranks=ranks, threads=threads)
            return max(value for key, value in rates.items() if key.startswith(("copy_", "triad_"))) / 24 / 1e6

        yield Case(f"{n}³, {layout(ranks, threads)}", "M cells/s", ours, theirs, Goal(least=0.85))


@row("gray-scott", "Gray–Scott 3-D", "C + MPI by hand, plain stores")
def gray_scott(sides):
    """examples/gray_scott (forward Euler) in 3-D and benches/gray_scott.c --stores plain, the same coefficients and steps."""
    sizes = [128, 256] if sides.options.full else [128]
    yield from against_by_hand(sides, "gray_scott", sizes, LAYOUTS, PLAIN, Goal(least=1.0), gray_scott_settings)


ATHENA_INPUT = """<job>
problem_id = blast
<time>
cfl_number = 0.3
nlim = {steps}
tlim = 1.0
integrator = vl2
xorder = 2
ncycle_out = {steps}
<mesh>
nx1 = 128
x1min = -0.625
x1max = 0.625
ix1_bc = outflow
ox1_bc = outflow
nx2 = 128
x2min = -0.625
x2max = 0.625
ix2_bc = outflow
ox2_bc = outflow
nx3 = 128
x3min = -0.625
x3max = 0.625
ix3_bc = outflow
ox3_bc = outflow
<meshblock>
nx1 = 128
nx2 = 128
nx3 = {depth}
<hydro>
gamma = 1.4
<problem>
pamb = 0.1
prat = 100.0
radius = 0.1
"""


@row("gas", "gas dynamics 3-D, VL2 + PLM + HLLC, 128³", "Athena++")
def gas(sides):
    """examples/euler with euler_blast.toml (HLLC, PLM, VL2, CFL 0.3) and Athena++'s blast problem (--athena BINARY)."""
    if not sides.options.athena:
        raise Skipped("Athena++ is not here: give --athena BINARY")
    steps = 24 if sides.options.full else 8
    for ranks in (1, 2):

        def ours(ranks=ranks):
            settings = {"time.max_steps": steps, **STILL}
            run = sides.run("euler", settings, case="euler_blast", ranks=ranks)
            return 128**3 * steps / run.loop_seconds() / 1e6

        def theirs(ranks=ranks):
            file = sides.room / "athinput.blast"
            file.write_text(ATHENA_INPUT.format(steps=steps, depth=128 // ranks))
            said = sides.mpirun(ranks, [sides.options.athena, "-i", file, "-d", sides.room])
            rate = re.search(r"zone-cycles/\w+\s*=\s*([0-9.eE+]+)", said)
            if not rate:
                raise Failed(f"Athena++ said no zone-cycles per second:\n{said}")
            return float(rate[1]) / 1e6

        yield Case(layout(ranks, 1), "M cells/s", ours, theirs, Goal(least=2.0))


@row("small-blocks", "heat and gas dynamics, 16³ blocks", "the same, 64³ blocks")
def small_blocks(sides):
    """examples/heat and examples/euler at 128³ with grid.block = 16³ and 64³, on one rank and on two."""
    for ranks in (1, 2):
        for example, case, settings, steps in (
            ("heat", "heat", lambda steps: heat_settings(128, steps), steps_for(sides, 128, ranks)),
            ("euler", "euler_blast", lambda steps: {"time.max_steps": steps, **STILL}, 24 if sides.options.full else 8),
        ):

            def rate(block, example=example, case=case, settings=settings, steps=steps, ranks=ranks):
                run = sides.run(example, {**settings(steps), "grid.block": [block] * 3}, case=case, ranks=ranks)
                return 128**3 * steps / run.loop_seconds() / 1e6

            label = f"{example} 128³, {layout(ranks, 1)}"
            yield Case(label, "M cells/s", lambda rate=rate: rate(16), lambda rate=rate: rate(64), Goal(least=0.8))


@row("halo", "halo exchange, 4 components, 2 ranks, 64³ each", "bare MPI, the same bytes")
def halo(sides):
    """benches/exchange.rs (pack, send, unpack, and the copies within a rank) and benches/halo.c (messages alone; by hand with all that)."""
    repetitions = 5000 if sides.options.full else 1000

    def ours(cut, periodic):
        return last_json(sides.mpirun(2, [BUILT / "exchange", repetitions, cut, periodic]))["seconds"] * 1e6

    def theirs(cut, what):
        return min(sides.opponent("halo", 64, repetitions, cut, ranks=2)[what] for _ in range(2)) * 1e6

    opponents = [
        ("messages alone", "cut", "seconds"),
        ("messages of new numbers", "cut", "seconds_fresh"),
        ("packing and copies by hand", "all", "seconds_by_hand"),
    ]
    for label, periodic, what in opponents:
        for cut in "xyz":
            mine, other = partial(ours, cut, periodic), partial(theirs, cut, what)
            yield Case(f"cut across {cut}, {label}", "µs", mine, other, Goal(most=1.3))
