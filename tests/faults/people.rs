//! Faults of whoever stands around the ranks: supervisors, launchers, shells, operators, batch systems.

use jiff::Timestamp;
use nix::sys::signal::Signal;
use steadfast::rundir::{Event, Journal};

use super::draw::Draw;
use super::judge::{Outcome, Promise};
use super::matrix::Played;
use super::ranks::{anywhere, in_a_row, in_phase};
use super::scene::{EVERY, PATIENT, PLAN, RANKS, SLOWLY, STEPS, Scene};
use super::stage::{Ended, starts};

/// The supervisor dies; its ranks die with it, and the same command goes on.
pub fn supervisor(draw: &Draw) -> Played {
    orphaned(&format!("kill@to=supervisor,{}", anywhere(draw, 1)))
}

/// The supervisor dies while it brings a run back.
pub fn supervisor_in_recovery(draw: &Draw) -> Played {
    let phase = draw.one_of(&["starting", "reading", "reduce"]);
    let second = format!("attempt=2,rank={},phase={phase}", draw.below(RANKS as u64));
    orphaned(&format!("kill@{};kill@to=supervisor,{second}", in_phase(draw, 1, "sweep")))
}

fn orphaned(plan: &str) -> Played {
    let scene = Scene::new();
    let ended = scene.play(&PATIENT, plan);
    match ended {
        // Nobody is there to judge but the ranks.
        Some(Ended { code: None, .. }) => {
            let left = scene.left_behind();
            if !left.is_empty() {
                return Played {
                    scene,
                    outcome: Outcome::LeftBehind(format!("{left:?}")),
                    injected: 0,
                    detected: None,
                };
            }
            let ended = scene.end(scene.launch(&[]).start());
            Played::new(scene, ended, Promise::SameBits)
        }
        ended => Played::new(scene, ended, Promise::SameBits),
    }
}

/// mpirun dies, again and again.
pub fn launcher(draw: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.play(&PATIENT, &in_a_row(draw, 4, |place| format!("kill@to=launcher,{place}")));
    Played::new(scene, ended, Promise::SameBits)
}

/// The batch shell dies: the supervisor ends what it began, or ends with it; nobody is left either way.
pub fn shell(draw: &Draw) -> Played {
    let scene = Scene::new();
    let call = scene.marked(scene.launch(&[]).under("sh", &["-c", "\"$@\"; exit $?", "sh"]));
    let mut running = call.env(PLAN, SLOWLY).start();
    let step = EVERY + draw.below(EVERY);
    scene.see(&mut running, |run| super::stage::ranks(run, 1).iter().any(|rank| rank.step >= step));
    running.signal(Signal::SIGKILL);
    let left = scene.left_behind();
    if !left.is_empty() {
        return Played { scene, outcome: Outcome::LeftBehind(format!("{left:?}")), injected: 1, detected: None };
    }
    drop(running);
    let ended = scene.end(scene.launch(&[]).start());
    Played::new(scene, ended, Promise::SameBits).plus(1)
}

/// SIGTERM, SIGUSR1 or SIGINT, once or twice, to a rank or the supervisor, in any phase.
pub fn signals(draw: &Draw) -> Played {
    let scene = Scene::new();
    let to = draw.one_of(&["rank", "supervisor"]);
    let name = draw.one_of(&["term", "usr1", "int"]);
    let place = anywhere(draw, 1);
    let mut plan = format!("{name}@to={to},{place}");
    if draw.below(2) == 1 {
        plan += &format!(";{}@to={to},{place},after={}", draw.one_of(&["term", "usr1"]), draw.between(1, 5));
    }
    let ended = scene.play(&PATIENT, &plan);
    Played::new(scene, ended, Promise::Either)
}

/// A limit of wall time that comes again and again, at moments that nobody chose.
pub fn time_limit(draw: &Draw) -> Played {
    let scene = Scene::new();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let limit = format!("{} ms", draw.between(150, 400));
        let call = scene.launch(&[]).args(&["--time-limit", &limit]).env(PLAN, SLOWLY);
        let ended = scene.end(call.start());
        match &ended {
            Some(Ended { code: Some(75), .. }) if attempts < 100 => {}
            _ => return Played::new(scene, ended, Promise::SameBits).plus(attempts - 1),
        }
    }
}

/// A second launch in the same directory; the first is not disturbed, and the second says who is there.
pub fn two_launches(draw: &Draw) -> Played {
    let scene = Scene::new();
    let mut first = scene.launch(&[]).env(PLAN, "slow@attempt=any,phase=reduce,ms=15").start();
    let step = draw.below(EVERY);
    scene.see(&mut first, |run| super::stage::ranks(run, 1).iter().any(|rank| rank.step >= step));
    let supervised = draw.below(2) == 0;
    let second = if supervised { scene.launch(&[]) } else { scene.alone() };
    let second = scene.end(second.start());
    let refused = second.is_some_and(|ended| ended.code == Some(1) && ended.err.contains("hint: "));
    let ended = scene.end(first);
    Played::new(scene, ended, Promise::SameBits).unless(!refused, "the second launch was not refused").plus(1)
}

/// An old job is stopped, another is launched in its place, and the old one wakes up.
pub fn zombie(draw: &Draw) -> Played {
    let scene = Scene::new();
    let mut first = scene.launch(&[]).env(PLAN, SLOWLY).start();
    let step = EVERY + draw.below(STEPS / 2);
    scene.see(&mut first, |run| super::stage::ranks(run, 1).iter().any(|rank| rank.step >= step));
    scene.signal_all(Signal::SIGSTOP);
    let second = scene.end(scene.launch(&[]).start());
    let outcome = second.as_ref().map(|ended| ended.code);
    scene.signal_all(Signal::SIGCONT);
    let ended = scene.end(first);
    let judged = Played::new(scene, ended, Promise::Either).plus(1);
    judged.unless(!matches!(outcome, Some(Some(0 | 1))), "the launch beside a stopped one did not end in good order")
}

/// A launcher that is not there.
pub fn launcher_missing(_: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.end(scene.launch(&["--launcher", "/nonexistent/mpirun"]).start());
    // Nothing has been begun; what remains is to say so.
    Played::new(scene, ended, Promise::Stop(2)).plus(1)
}

/// A launcher that prints noise, or lies about the exit code, with and without a death.
pub fn launcher_lies(draw: &Draw) -> Played {
    let scene = Scene::new();
    let real = std::env::var("MPIEXEC").unwrap_or("mpirun".into());
    let code = draw.one_of(&["$?", "0", "1", "2", "75", "137"]);
    let launcher = scene.script(
        "launcher",
        &format!(
            "#!/bin/sh\nprintf 'noise \\377\\376\\n'; echo noise >&2\n[ \"$1\" = --version ] && exec {real} --version\n\
             {real} \"$@\"; code={code}\nprintf '\\033[31mmore noise'; exit $code\n"
        ),
    );
    let plan = if draw.below(2) == 0 { String::new() } else { format!("kill@{}", in_phase(draw, 1, "exchange")) };
    let mut options = PATIENT.to_vec();
    options.extend(["--launcher", &launcher]);
    let ended = scene.play(&options, &plan);
    Played::new(scene, ended, Promise::SameBits).plus(1)
}

/// Nobody reads what the supervisor and the ranks say.
pub fn broken_pipe(draw: &Draw) -> Played {
    let scene = Scene::new();
    let reader = draw.one_of(&["true", "head -n 1", "head -c 10"]);
    let script = format!("{{ \"$@\"; echo $? > code; }} 2>&1 | {reader} > /dev/null");
    let plan = format!("kill@{}", in_phase(draw, 1, "sweep"));
    let call = scene.marked(scene.launch(&[]).under("sh", &["-c", &script, "sh"]));
    let ended = scene.end(call.env(PLAN, &plan).start());
    // The pipe's own end says nothing of the run's.
    let code = std::fs::read_to_string(scene.path("code")).ok().and_then(|code| code.trim().parse().ok());
    let ended = ended.map(|ended| Ended { code, ..ended });
    Played::new(scene, ended, Promise::SameBits).plus(1)
}

/// A bad case is told once, and never tried again.
pub fn bad_case(_: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.end(scene.launch(&[]).set(&["time.step=-1.0"]).start());
    let played = Played::new(scene, ended, Promise::Stop(2)).plus(1);
    let launches = played.scene.launches();
    // The second launch is the one that goes on with a good case.
    played.unless(launches > 2, "a bad case was tried again")
}

/// How long mpirun itself takes to notice a killed rank and to end, without a supervisor.
pub fn mpirun_alone(draw: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.end(scene.alone().env(PLAN, &format!("kill@{}", in_phase(draw, 1, "exchange"))).start());
    let detected = since_the_fault(&scene);
    let dead = ended.is_some_and(|ended| ended.code.is_some_and(|code| code != 0));
    let left = scene.left_behind();
    let resumes = starts(&scene.run()).len() == 1;
    let ended = scene.end(scene.launch(&[]).start());
    let played = Played::new(scene, ended, Promise::SameBits);
    let played = Played { detected, ..played };
    played.unless(!dead || !left.is_empty() || !resumes, "mpirun did not end with its rank")
}

/// The time since the fault of the plan, s.
fn since_the_fault(scene: &Scene) -> Option<f64> {
    let entries = Journal::read(&scene.run()).ok()?;
    let fault = entries.iter().find(|entry| matches!(entry.event, Event::FaultInjected { .. }))?;
    Some(Timestamp::now().duration_since(fault.time).as_secs_f64())
}
