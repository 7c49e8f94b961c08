//! The case file: as written → as checked. What is asked of a run, and nothing of how it is done.
//!
//! A case is one TOML file, parsed once and checked once: after [`check`] every number is in range, every list has its
//! length and every default is filled in, and no other room reads a key again. What is wrong is one error of
//! [`Kind::Case`](crate::error::Kind::Case) with line, key, value and rule, and where a word is nearly right, the right
//! one: `heat.toml:12: time.integrator = "rk5" is not an integrator; one of …`, `hint: did you mean rk4?`. This room knows
//! the names of the model's components but not its physics, and it opens no file but the case.
//!
//! ```text
//!   file ─read→ Source ─set("key=value")→ Source ─check→ Case (for all rooms) + M (the model's own keys)
//! ```
//!
//! # A case
//! ```toml
//! title = "Heat conduction in a bar"
//!
//! [grid]
//! cells = [64, 64, 64]
//!
//! [boundary]
//! x = "periodic"
//! y = { low = "outflow", high = { fixed_value = 1.0 } }
//! z = "reflecting"
//!
//! [model]
//! diffusivity = 1.0
//!
//! [time]
//! end = 0.1
//! cfl = 0.4
//!
//! [[output]]
//! what = "totals"
//! every = { steps = 100 }
//! ```
//!
//! # The keys
//! Lists are in the order x, y, z. Lengths, times and values are in the units of the model; wall time is in seconds, or a
//! text as in `"250 ms"`, `"90 s"`, `"10 min"`, `"2 h"`, `"1 d"`, to the millisecond.
//!
//! | key | what it is | default | changes the bits |
//! |---|---|---|---|
//! | `title` | what the case is about | empty | no |
//! | `grid.cells` | cells along each axis; how many there are is the dimension, 1 to 3 | needed | yes |
//! | `grid.lower` | lower corner of the domain: a list, or one number for all axes | 0 | yes |
//! | `grid.upper` | upper corner of the domain: a list, or one number for all axes | 1 | yes |
//! | `grid.block` | cells of a block: a list, or one number for all axes | from the grid | no |
//! | `boundary.x` | the faces across x, see below | `"periodic"` | yes |
//! | `boundary.y` | the faces across y | `"periodic"` | yes |
//! | `boundary.z` | the faces across z | `"periodic"` | yes |
//! | `model` | a table of the model's own keys | from the model | yes |
//! | `scheme.reconstruction` | for a conservation law: `"constant"`, `"plm"`, `"ppm"` or `"weno_z"` | `"plm"` | yes |
//! | `scheme.limiter` | of the slopes of `plm`: `"minmod"`, `"van_leer"` or `"mc"` | `"van_leer"` | yes |
//! | `scheme.riemann` | `"rusanov"`, `"hll"`, or `"hllc"` for a law with a contact | the last that can be had | yes |
//! | `initial.file` | an HDF5 file to start from, relative to the case file; `[initial]` may be left out | needed in `[initial]` | yes |
//! | `initial.dataset` | the path of the data set in it | needed in `[initial]` | yes |
//! | `initial.interpolation` | `"nearest"` or `"linear"` | needed in `[initial]` | yes |
//! | `initial.component` | the component that starts from it; the others start from the model | the first | yes |
//! | `initial.scale` | factor on the data | 1 | yes |
//! | `initial.offset` | what is added after that, in the component's unit | 0 | yes |
//! | `time.end` | the time at which the run ends, from 0; with 0 the run takes no step | needed; no end for a program with steps of its own; a farm takes no times and no schedules but of wall time | the last step |
//! | `time.cfl` | the step, as a part of the model's shortest timescale; or else `step` | needed | yes |
//! | `time.step` | the step as such; or else `cfl` | 1 for integers and for programs with steps of their own | yes |
//! | `time.integrator` | `"forward_euler"`, `"ssp_rk2"`, `"vl2"`, `"ssp_rk3"` or `"rk4"` | `"ssp_rk2"`; for integers `"forward_euler"` | yes |
//! | `time.max_steps` | the most steps; the run ends there even before `end` | no limit | only where it ends |
//! | `output.what` | in each `[[output]]`: `"fields"` or `"totals"` | needed | no |
//! | `output.fields` | in each `[[output]]` of fields: components of the state, or what the model derives from it | all of the state | no |
//! | `output.every` | in each `[[output]]`: a schedule, see below | needed | only if `exact` |
//! | `checkpoint.every` | a schedule, or `"auto"`: as the measured cost of a checkpoint and the failures seen advise | `"auto"` | only if `exact` |
//! | `checkpoint.interval` | the bounds of `"auto"` | `{ at_least = "10 s", at_most = "1 h" }` | no |
//! | `checkpoint.keep` | how many good ones are kept, at least 2 | 2 | no |
//! | `checkpoint.verify` | what is read back before one counts: `"all"`, `"sample"` (one block in eight) or `"none"`; of one among any `keep` in a row, all in any case | `"all"` | no |
//! | `checkpoint.local.directory` | where node-local checkpoints go on every node; `[checkpoint.local]` switches them on | `"/dev/shm/steadfast"` | no |
//! | `checkpoint.local.every` | a schedule; wall time is stretched so that they cost at most 1 % of it | `{ wall = "5 s" }` | no |
//! | `checkpoint.local.keep` | how many are kept, beside the one being taken; twice, for each has a copy on another node | 2 | no |
//! | `run.threads` | threads of each rank | 1 | no |
//! | `run.sweeps_per_exchange` | sweeps between two exchanges of halos, of several steps if `time.step` is given; they share a cache where that is faster | 1 | no |
//! | `run.exchange` | `"shared_memory"` (`"neighbourhood"`, but within a node one rank reads what another has packed), `"neighbourhood"` (MPI moves all messages, by one collective) or `"point_to_point"` (it does so one by one) | `"shared_memory"` | no |
//! | `guard.checksums` | what is compared with its checksum while the run computes: `"none"`, `"messages"` (halos on arrival), `"blocks"` (memory, between two steps) or `"all"` | `"none"` | no |
//! | `guard.every` | for blocks: after which steps, as in `{ steps = 10 }`; a bit that flips between others goes unnoticed | `{ steps = 1 }` | no |
//! | `recovery.hang_after` | wall time without progress after which ranks that compute count as hung: ten times the longest stretch without a sign of progress seen, which is a sweep or so, within these bounds; or the lower bound alone, as in `"30 s"` | `{ at_least = "10 s", at_most = "10 min" }` | no |
//! | `recovery.failures_without_progress` | failures without a new checkpoint after which the run stops | 3 | no |
//! | `recovery.fewest_ranks` | the fewest ranks to go on with when nodes are lost | as many as were asked for | no |
//! | `recovery.stop_signals` | the signals at which the run saves and stops: of `"SIGTERM"`, `"SIGINT"`, `"SIGUSR1"`, `"SIGUSR2"` and `"SIGHUP"` | the first three | no |
//!
//! **Boundaries.** `"periodic"` for both faces of an axis; else, for both or for `low` and `high` each, `"outflow"`,
//! `"reflecting"`, `{ fixed_value = 1.0 }` or `{ fixed_gradient = 0.0 }`, where a number is for all components and a table,
//! as in `{ fixed_value = { u = 1.0, v = 0.0 } }`, has one for each.
//!
//! **Schedules.** `{ steps = 100 }`; `{ time = 0.01 }`: after the first step that ends at or beyond such a time, so that no
//! step changes; `{ time = 0.01, exact = true }`: steps are shortened to end at these times, which changes the bits in the
//! same way on every machine; `{ wall = "10 min" }`: wall time, which may never be exact, for it must not change the
//! result; `"never"`.
//!
//! **Integers.** Records of integers go on by whole steps: `forward_euler` with `step = 1`, ends and exact times whole.
//!
//! **What the guard costs.** Checksums of messages are lost in the noise. Those of blocks read the state twice a step: a fast sweep,
//! which is bound by memory itself, takes 1.4 times as long (`examples/heat`, 128³ cells, 2 ranks), one that computes more takes
//! less; with `every = { steps = n }` it is an n-th of that. `scripts/cost` measures it.
//!
//! # `--set key=value`
//! Puts a value into the case before it is checked, as often as one likes, later ones over earlier ones. The key is that of
//! the table above; entries of lists are numbered from 0, as in `--set output.0.every.steps=10`. The value is TOML; a word
//! needs no quotes (`--set time.integrator=rk4`), and no value removes the key (`--set time.cfl= --set time.step=1e-3`). What
//! is wrong with it is said with the argument in the place of the line. The same settings belong to every restart: those that
//! change the bits are part of [`Case::physics`].
//!
//! Read on in [`crate::grid`], which cuts the domain into blocks.

mod boundary;
mod case;
mod check;
mod explain;
mod guard;
mod keys;
mod local;
mod model;
mod recovery;
mod schedule;
mod scheme;
mod source;
#[cfg(test)]
mod tests;
mod written;

pub use case::{
    Bounds, Case, Checkpoint, Exchange, InitialFile, Integrator, Interpolation, Output, Recovery, Run, StepSize,
    StopSignal, Thing, Time, Verify,
};
pub use check::{Family, Subject, check};
pub use guard::{Checksums, Guard};
pub use keys::Word;
pub use local::Local;
pub use schedule::{Schedule, parse_duration};
pub use source::Source;
