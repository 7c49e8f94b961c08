"""What the table is made of: rows of cases, each with two sides and a goal.

A row gives cases; a case has two sides, each of which measures once when called. They are called in turn, A B A B …, and what
counts is the ratio (or the difference) of each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable


class Skipped(Exception):
    """A row cannot be measured here; the reason."""


@dataclass
class Goal:
    """At least, or at most, this ratio; or at most this difference."""

    least: float | None = None
    most: float | None = None
    difference: bool = False

    def reached(self, value):
        return value >= self.least if self.least is not None else value <= self.most

    def __str__(self):
        if self.least is not None:
            return f"≥ {self.least:g}"
        return f"≤ +{self.most:g} s" if self.difference else f"≤ {self.most:g}"


@dataclass
class Case:
    label: str
    unit: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    goal: Goal
    note: str = ""


@dataclass
class Row:
    name: str
    work: str
    against: str
    says: str
    cases: Callable


ROWS = []


def row(name, work, against):
    """A row; the first line of the function's text says what it runs."""

    def add(function):
        ROWS.append(Row(name, work, against, " ".join(function.__doc__.split()), function))
        return function

    return add
