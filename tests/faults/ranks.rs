//! Faults of ranks: killed, stopped, spinning, slow, wrong, at any step and phase.

use steadfast::rundir::Event;

use super::draw::Draw;
use super::judge::{Promise, judge};
use super::matrix::Played;
use super::scene::{EVERY, HASTY, PATIENT, PLAN, RANKS, SLOWLY, STEPS, Scene};
use super::stage::{Ended, events};

/// How many faults one play has in a row, each in an attempt of its own.
const IN_A_ROW: u64 = 6;
/// The steps in which an attempt is hurt lie beyond those of the attempt before by two checkpoints, so that one of them
/// is committed in between: what dies again and again after one checkpoint is another fault, with a row of its own.
const WINDOW: u64 = 2 * EVERY;

const PHASES: [&str; 9] =
    ["starting", "reading", "sweep", "exchange", "reduce", "checkpoint", "output", "finishing", "ended"];

/// The conditions that place a fault in an attempt: any rank, any phase, any step.
pub fn anywhere(draw: &Draw, attempt: u64) -> String {
    in_phase(draw, attempt, draw.one_of(&PHASES))
}

/// Faults in as many attempts, each anywhere; but only the last one lets the run come near its end.
pub fn in_a_row(draw: &Draw, attempts: u64, fault: impl Fn(String) -> String) -> String {
    let place = |attempt| match attempt == attempts {
        true => anywhere(draw, attempt),
        false => in_phase(draw, attempt, draw.one_of(&PHASES[..PHASES.len() - 2])),
    };
    (1..=attempts).map(|attempt| fault(place(attempt))).collect::<Vec<_>>().join(";")
}

/// The conditions that place a fault on any rank, in a phase of an attempt.
pub fn in_phase(draw: &Draw, attempt: u64, phase: &str) -> String {
    let place = format!("attempt={attempt},rank={},phase={phase}", draw.below(RANKS as u64));
    let first = WINDOW * attempt;
    match phase {
        "starting" | "reading" | "finishing" | "ended" => place,
        "checkpoint" | "output" => format!("{place},step={}", first + EVERY * draw.below(WINDOW / EVERY)),
        _ => format!("{place},step={}", first + draw.below(WINDOW)),
    }
}

/// Milliseconds from the mark to the strike: some faults come between two marks.
fn soon(draw: &Draw) -> String {
    match draw.below(2) {
        0 => String::new(),
        _ => format!(",after={}", draw.between(1, 4)),
    }
}

/// One death after another, each in an attempt of its own, by any rank in any phase.
pub fn kill(draw: &Draw) -> Played {
    play(Scene::new(), &PATIENT, &in_a_row(draw, IN_A_ROW, |place| format!("kill@{place}{}", soon(draw))))
}

/// The same, with deaths while checkpoints are begun, written and committed.
pub fn kill_in_checkpoint(draw: &Draw) -> Played {
    let plan = |attempt| format!("kill@{},nth={}{}", in_phase(draw, attempt, "checkpoint"), 1, soon(draw));
    play(Scene::new(), &PATIENT, &(1..=IN_A_ROW).map(plan).collect::<Vec<_>>().join(";"))
}

/// Two ranks die in the same step.
pub fn two_at_once(draw: &Draw) -> Played {
    let plan = |attempt| {
        let (first, step) = (draw.below(RANKS as u64), WINDOW * attempt + draw.below(WINDOW));
        let second = (first + 1 + draw.below(RANKS as u64 - 1)) % RANKS as u64;
        format!("kill@attempt={attempt},rank={first},step={step};kill@attempt={attempt},rank={second},step={step}")
    };
    play(Scene::new(), &PATIENT, &(1..=3).map(plan).collect::<Vec<_>>().join(";"))
}

/// A death, another while the run comes back, and one while it writes its first checkpoint thereafter.
pub fn during_recovery(draw: &Draw) -> Played {
    let rank = || draw.below(RANKS as u64);
    // Late enough that there are older checkpoints: two deaths after the only one there is are taken for its fault.
    let (phase, step) = (draw.one_of(&["sweep", "exchange", "reduce"]), STEPS / 2 + draw.below(STEPS / 4));
    let first = format!("attempt=1,rank={},phase={phase},step={step}", rank());
    let second = format!("attempt=2,rank={},phase={}", rank(), draw.one_of(&["starting", "reading", "reduce"]));
    let third = format!("attempt=3,rank={},phase=checkpoint{}", rank(), soon(draw));
    play(Scene::new(), &PATIENT, &format!("kill@{first};kill@{second};kill@{third}"))
}

/// A rank leaves without a word and with a code of its own.
pub fn leave(draw: &Draw) -> Played {
    let code = || draw.one_of(&[0, 1, 3, 75, 139]);
    play(Scene::new(), &PATIENT, &in_a_row(draw, 3, |place| format!("exit@{place},code={}", code())))
}

/// Job control stops a rank.
pub fn stop(draw: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.play(&HASTY, &format!("{SLOWLY};stop@{}", once_seen(draw)));
    named(scene, ended, |event| matches!(event, Event::RankHung { .. }))
}

/// A rank computes for ever.
pub fn spin(draw: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.play(&HASTY, &format!("{SLOWLY};spin@{}", once_seen(draw)));
    named(scene, ended, |event| matches!(event, Event::RankHung { .. }))
}

/// A rank does not send, and the others wait for ever.
pub fn lost_message(draw: &Draw) -> Played {
    let scene = Scene::new();
    let (rank, step) = (draw.below(RANKS as u64), STEPS / 2 + draw.below(STEPS / 2));
    let ended = scene.play(&HASTY, &format!("{SLOWLY};skip_send@rank={rank},step={step}"));
    named(scene, ended, |event| matches!(event, Event::RankHung { .. }))
}

/// A rank is more than ten times slower than the others: reported, and no reason to end anything.
pub fn slow(draw: &Draw) -> Played {
    let scene = Scene::new();
    let slow = draw.below(RANKS as u64);
    let ended = scene.play(&HASTY, &format!("slow@rank={slow},phase=sweep,ms={}", draw.between(22, 25)));
    let played = Played::new(scene, ended, Promise::SameBits);
    let named = |event: &Event| matches!(event, Event::RankSlow { rank, .. } if *rank as u64 == slow);
    let reported = events(&played.scene.run()).iter().any(named);
    let launches = played.scene.launches();
    played.unless(launches > 1, "a slow rank was ended").unless(!reported, "the journal does not name the slow rank")
}

/// One rank meets an error that the others do not know of.
pub fn error(draw: &Draw) -> Played {
    let phase = draw.one_of(&PHASES[..PHASES.len() - 1]);
    let scene = Scene::new();
    let ended = scene.play(&PATIENT, &format!("error@{}", in_phase(draw, 1, phase)));
    let told = ended.as_ref().map_or(0, |ended| ended.err.matches("error: an injected error (rank ").count());
    Played::new(scene, ended, Promise::SameBits).unless(told != 1, &format!("the error was told {told} times"))
}

/// One rank panics before a collective.
pub fn panic(draw: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.play(&PATIENT, &format!("panic@{}", anywhere(draw, 1)));
    let told = ended.as_ref().map_or(0, |ended| ended.err.matches("an injected panic on rank ").count());
    Played::new(scene, ended, Promise::SameBits).unless(told != 1, &format!("the panic was told {told} times"))
}

/// A good checkpoint after which the run dies at once, each time.
pub fn poison(draw: &Draw) -> Played {
    let scene = Scene::new();
    let step = WINDOW + draw.below(STEPS - 2 * WINDOW);
    let ended = scene.play(&PATIENT, &format!("kill@attempt=any,rank={},step={step}", draw.below(RANKS as u64)));
    Played::new(scene, ended, Promise::Stop(1))
}

/// A run that dies before its first checkpoint, each time.
pub fn no_progress(draw: &Draw) -> Played {
    let scene = Scene::new();
    let (rank, step) = (draw.below(RANKS as u64), 1 + draw.below(EVERY - 1));
    let ended = scene.play(&[], &format!("kill@attempt=any,rank={rank},step={step}"));
    Played::new(scene, ended, Promise::Stop(1))
}

/// A bit flips between the checksum and the disk.
pub fn flip_staging(draw: &Draw) -> Played {
    let scene = Scene::new();
    let flip = |n: u64| {
        let (rank, byte) = (draw.below(RANKS as u64), draw.below(1 << 20));
        format!("flip_staging@rank={rank},step={},byte={byte}", n * WINDOW)
    };
    let ended = scene.play(&[], &(1..=4).map(flip).collect::<Vec<_>>().join(";"));
    let played = Played::new(scene, ended, Promise::SameBits);
    let noticed =
        events(&played.scene.run()).iter().filter(|event| matches!(event, Event::CheckpointFailed { .. })).count();
    played.unless(noticed != 4, &format!("{noticed} of 4 flips were noticed"))
}

/// The run stops and goes on with any other number of ranks.
pub fn other_ranks(draw: &Draw) -> Played {
    let scene = Scene::new();
    let [before, after] = [draw.between(1, 8), draw.between(1, 8)].map(|ranks| ranks as usize);
    let plan = format!("term@rank=0,step={}", WINDOW + draw.below(STEPS / 2));
    let first = scene.end(scene.launch_as(before, &[], "gray_scott").env(PLAN, &plan).start());
    if first.as_ref().is_none_or(|ended| ended.code != Some(75)) {
        return Played::new(scene, first, Promise::Stop(75));
    }
    let ended = scene.end(scene.launch_as(after, &[], "gray_scott").start());
    Played::new(scene, ended, Promise::SameBits)
}

/// A place where the ranks have been seen to compute for a while, which is long for a case of a few milliseconds.
fn once_seen(draw: &Draw) -> String {
    let (rank, step) = (draw.below(RANKS as u64), STEPS / 2 + draw.below(STEPS / 2));
    format!("rank={rank},step={step},phase={}", draw.one_of(&["sweep", "exchange", "reduce"]))
}

fn play(scene: Scene, options: &[&str], plan: &str) -> Played {
    let ended = scene.play(options, plan);
    Played::new(scene, ended, Promise::SameBits)
}

/// A play whose fault must be named in the journal.
fn named(scene: Scene, ended: Option<Ended>, is_named: impl Fn(&Event) -> bool) -> Played {
    let outcome = judge(&scene, ended, Promise::SameBits);
    let found = events(&scene.run()).iter().any(is_named);
    let played = Played { scene, outcome, injected: 0, detected: None };
    played.unless(!found, "the journal does not name the rank")
}
