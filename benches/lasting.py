"""The rows on what a run costs besides its steps: checkpoints, restarts, memory, starts and recoveries."""

import json
import os
import re
import shutil
from pathlib import Path

from sides import Run, heartbeats, last_json, seconds, watched
from speed import STILL, gray_scott_settings, heat_settings, layout
from table import Case, Goal, Skipped, row


def cube_of(sides):
    """A cube of about a gigabyte of one component; in the short form a quarter of it."""
    n = 512 if sides.options.full else 320
    # Three checkpoints for a moment, and what the other side writes.
    needed, free = 4 * 8 * n**3, shutil.disk_usage(sides.disk).free
    if free < needed:
        raise Skipped(f"{sides.disk.parent} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed")
    return n


def some_checkpoints(sides, n, verify, steps=8):
    """A run of heat of two ranks with four checkpoints on the disk, the last at its end."""
    settings = heat_settings(n, steps, **{"checkpoint.every": "{steps=2}", "checkpoint.verify": verify})
    return sides.run("heat", settings, ranks=2, directory=sides.disk / "run")


@row("checkpoint", "a checkpoint, until it is durable", "raw pwrite + fsync of the same bytes")
def checkpoint(sides):
    """The fourth checkpoint of examples/heat at 512³, 1.07 GB (short: 320³), by the journal, and benches/disk.c with two writers."""
    n = cube_of(sides)

    def ours(verify):
        saved = some_checkpoints(sides, n, verify).last("checkpoint_committed")
        return saved["bytes"] / saved["seconds"] / 1e9

    def theirs():
        return last_json(sides.mpirun(1, [sides.by_hand("disk"), sides.disk, 8 * n**3, 2, 16], 2))["write_gigabytes_per_second"]

    yield Case(f"{8 * n**3 / 1e9:.2f} GB, verified", "GB/s", lambda: ours("all"), theirs, Goal(least=0.9))
    yield Case(f"{8 * n**3 / 1e9:.2f} GB, not read back", "GB/s", lambda: ours("none"), theirs, Goal(least=0.9))


@row("stall", "the loop stands for checkpoints at the default interval", "run time")
def stall(sides):
    """examples/heat at 256³ on the disk until its first checkpoint: its stall over the interval that follows from it, by the journal."""
    entry = {}

    def ours():
        directory = sides.disk / "run"
        shutil.rmtree(directory, ignore_errors=True)
        settings = heat_settings(256, 10**9, **{"checkpoint.every": "auto", "checkpoint.verify": "all"})
        words = ["mpirun", "-n", 2, *sides.case_words("heat", "heat", directory, 1, settings)]

        def look():
            try:
                lines = (directory / "journal.jsonl").read_text().splitlines()
            except FileNotFoundError:
                return None
            told = [line for line in lines if '"checkpoint_interval"' in line]
            return json.loads(told[0]) if told else None

        entry.update(watched(words, dict(os.environ), look))
        return entry["stall"]

    yield Case("256³, 2 ranks", "s", ours, lambda: entry["seconds"], Goal(most=0.01))


@row("restart", "restart: read, verify, first step", "plain read of the same bytes")
def restart(sides):
    """examples/heat goes on from its checkpoint of 512³ (short: 320³), past the page cache; benches/disk.c --read reads that file."""
    n = cube_of(sides)
    directory = sides.disk / "restart"

    def checkpoint_file():
        return max((directory / "checkpoints").glob("step-*.h5"))

    def forget(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def ours():
        shutil.rmtree(directory, ignore_errors=True)
        settings = heat_settings(n, 1)
        sides.run("heat", settings, ranks=2, directory=directory)
        forget(checkpoint_file())
        run = sides.run("heat", {**settings, "time.max_steps": 2}, ranks=2, directory=directory, fresh=False)
        return run.stepped() - run.attempt_began()

    def theirs():
        plain = last_json(sides.mpirun(1, [sides.by_hand("disk"), "--read", checkpoint_file(), 2, 16], 2))
        if plain["cached"] > 0.05:
            raise Skipped(f"{sides.disk.parent} keeps files in memory, so that a plain read does not tell the disk's speed")
        return plain["read_seconds"]

    yield Case(f"{8 * n**3 / 1e9:.2f} GB, 2 ranks", "s", ours, theirs, Goal(most=1.2))


@row("memory", "memory of a run", "the fields' bytes × buffers of the integrator")
def memory(sides):
    """VmHWM of all ranks in the midst of a run, less that of a case of 8³ cells, and cells × components × 8 bytes × 2 buffers."""

    def peak(example, case, settings, ranks):
        directory = sides.room / "run"
        shutil.rmtree(directory, ignore_errors=True)
        words = ["mpirun", "-n", ranks, *sides.case_words(example, case, directory, 1, {**settings, "time.max_steps": 10**9})]

        def look():
            beats = heartbeats(directory)
            if len(beats) < ranks or min(beat["step"] for beat in beats) < 4:
                return None
            return sum(high_water(beat["pid"]) for beat in beats)

        return watched(words, dict(os.environ), look)

    def high_water(pid):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    n = 256 if sides.options.full else 192
    for example, case, components, settings in (
        ("heat", "heat", 1, lambda n: heat_settings(n, 8)),
        ("gray_scott", "gray_scott", 2, lambda n: gray_scott_settings(n, 8)),
        ("euler", "euler_blast", 5, lambda n: {"grid.cells": [n] * 3, "time.end": 1e9, **STILL}),
    ):
        for ranks in (1, 2):

            def ours(example=example, case=case, settings=settings, ranks=ranks):
                return (peak(example, case, settings(n), ranks) - peak(example, case, settings(8), ranks)) / 1e6

            def theirs(components=components):
                return n**3 * components * 8 * 2 / 1e6

            note = "a checkpoint's staging, one buffer, comes on top: from the start on, where checkpoints have a schedule"
            yield Case(f"{example} {n}³, {layout(ranks, 1)}", "MB", ours, theirs, Goal(most=1.25), note)


@row("recovery", "kill -9 of a rank to the first new step, 64 MB, 4 ranks", "mpirun's own detection, and its start of an empty program")
def recovery(sides):
    """steadfast launch -n 4 of examples/heat at 200³, rank 1 killed in a sweep; and mpirun -n 4 of benches/empty.c die."""
    settings = heat_settings(200, 60, **{"checkpoint.every": "{steps=10}"})

    def ours():
        directory = sides.room / "recovery"
        shutil.rmtree(directory, ignore_errors=True)
        environment = dict(os.environ, STEADFAST_FAULT="kill@rank=1,step=45,phase=sweep")
        words = sides.case_words("heat", "heat", directory, 1, settings)
        sides.launch(4, directory, words, environment)
        run = Run(directory, 0, 0)
        struck = seconds(run.last("fault_injected")["time"])
        began = run.last("started")
        step = run.loop_seconds() / (run.finished["step"] - began["resumed_from"])
        return seconds(began["time"]) + step - struck

    def theirs():
        return sides.seconds_of_mpirun(4, sides.by_hand("empty"), "die")

    yield Case("4 ranks", "s", ours, theirs, Goal(most=0.5, difference=True))


@row("start", "start of a run, 4 ranks, small case", "mpirun of an empty program")
def start(sides):
    """From mpirun -n 4 of examples/heat at 32³ to its first step, by the journal; and mpirun -n 4 of benches/empty.c, start to end."""

    def ours():
        run = sides.run("heat", heat_settings(32, 1), ranks=4)
        return run.started() - run.begin

    def theirs():
        return sides.seconds_of_mpirun(4, sides.by_hand("empty"))

    yield Case("to the first step", "s", ours, theirs, Goal(most=0.2, difference=True))

    def whole():
        run = sides.run("heat", heat_settings(32, 1), ranks=4)
        return run.end - run.begin

    yield Case("one step and its checkpoint, to the end", "s", whole, theirs, Goal(most=0.2, difference=True))
