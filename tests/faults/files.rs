//! Faults of the file system and of what lies in a run directory.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast::rundir::{Event, RunDirectory};

use super::draw::Draw;
use super::judge::Promise;
use super::matrix::Played;
use super::ranks::in_phase;
use super::scene::{EVERY, HASTY, PATIENT, PLAN, RANKS, SLOWLY, STEPS, Scene};
use super::stage::{Running, events, find, ranks};

/// The calls by which a checkpoint comes to stable storage, is read back, and older ones go.
const CALLS: [&str; 9] =
    ["openat", "pwrite64", "fsync", "ftruncate", "fallocate", "rename", "unlink", "close", "pread64"];

/// Those of them at which strace kills under its filter.
const KILLED: [&str; 5] = ["pwrite64", "fsync", "rename", "unlink", "pread64"];
/// Calls that only the rank makes which lays out, seals and renames.
const OF_RANK_0: [&str; 4] = ["ftruncate", "fallocate", "rename", "unlink"];

/// A rank is killed at its first system call of a kind on any checkpoint, in four attempts in a row.
///
/// The n-th call is for the writer alone (the row `writer-calls`): strace 6.1 sends signals at the first call only when
/// it filters calls, and without that filter ranks that wait for messages come to a standstill.
pub fn killed_at_a_call(draw: &Draw) -> Played {
    let played = traced(draw, 4, |attempt| {
        let step = 2 * EVERY * attempt + EVERY * draw.below(2);
        (draw.one_of(&KILLED), "signal=KILL:when=1".into(), step..=step)
    });
    // Nothing else ends an attempt here, and what strace had to say of a death is often lost with it.
    let deaths = (played.scene.launches() as u64).saturating_sub(1);
    Played { injected: deaths, ..played }
}

/// A system call on a checkpoint fails, on any rank, once or from then on.
pub fn failing_call(draw: &Draw) -> Played {
    traced(draw, 1, |_| {
        let error = draw.one_of(&["ENOSPC", "EIO", "EDQUOT", "EINTR", "EROFS", "EACCES"]);
        let until = draw.one_of(&["", "+", "+3"]);
        (draw.one_of(&CALLS), format!("error={error}:when={}{until}", draw.between(1, 60)), 0..=STEPS)
    })
}

/// A disk that takes a hundred times as long over each write and sync.
pub fn slow_disk(draw: &Draw) -> Played {
    let delay = format!("delay_enter={}:when=1+7", draw.between(20, 100) * 1000);
    let played = traced(draw, 1, |_| ("pwrite64,fsync", delay.clone(), 0..=STEPS));
    let launches = played.scene.launches();
    played.unless(launches > 1, "a slow disk was taken for a hang")
}

/// Which calls, what is done to them, and the steps whose checkpoints they concern.
type Injection = (&'static str, String, RangeInclusive<u64>);

/// Plays the case with one rank of the first attempts under strace, which looks only at calls on checkpoints.
fn traced(draw: &Draw, attempts: u64, injection: impl Fn(u64) -> Injection) -> Played {
    let scene = Scene::new();
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return Played::skipped(scene, "strace cannot be run here");
    }
    let trace = scene.path("trace");
    let mut script = String::from("#!/bin/sh\ncase $STEADFAST_ATTEMPT:${OMPI_COMM_WORLD_RANK:-$PMI_RANK} in\n");
    for attempt in 1..=attempts {
        let (calls, how, steps) = injection(attempt);
        let paths = paths_of(&scene.run(), steps, attempts);
        let rank = if OF_RANK_0.contains(&calls) { 0 } else { draw.below(RANKS as u64) };
        script += &format!(
            "{attempt}:{rank}) set -- strace -f --seccomp-bpf -qq -o {}.{attempt} {paths} -e trace={calls} \
             -e inject={calls}:{how} -- {program} \"$@\" ;;\n",
            trace.display(),
            program = find("gray_scott").display(),
        );
    }
    script += &format!("*) set -- {} \"$@\" ;;\nesac\nexec \"$@\"\n", find("gray_scott").display());
    let program = scene.script("traced", &script);
    let ended = scene.end(scene.launch_as(RANKS, &PATIENT, &program).start());
    // Only what strace says that it did was done.
    let done = |attempt| {
        let trace = fs::read_to_string(trace.with_extension(format!("{attempt}"))).unwrap_or_default();
        trace.matches("(INJECTED)").count() + trace.matches("(DELAYED)").count()
    };
    let injected: usize = (1..=attempts).map(done).sum();
    Played::new(scene, ended, Promise::Either).plus(injected as u64)
}

/// The files of these steps' checkpoints, as strace wants them; each attempt may write them under an epoch of its own.
fn paths_of(run: &RunDirectory, steps: RangeInclusive<u64>, attempts: u64) -> String {
    let all = steps.filter(|step| step % EVERY == 0).flat_map(|step| {
        let partial = move |epoch| run.partial_path(step, epoch);
        (1..=attempts + 1).map(partial).chain([run.checkpoint_path(step)])
    });
    all.chain([run.checkpoint_directory()]).map(|path| format!("-P {}", path.display())).collect::<Vec<_>>().join(" ")
}

/// What is done to a run's files while it runs.
type Harm = fn(&Draw, &RunDirectory);

/// Harms the run directory once the run has a checkpoint, and kills a rank afterwards, so that it must come back.
fn harmed(draw: &Draw, harm: Harm) -> Played {
    let scene = Scene::new();
    let plan = format!("{SLOWLY};kill@rank={},step={}", draw.below(RANKS as u64), STEPS / 2 + draw.below(STEPS / 4));
    let mut running = scene.launch(&PATIENT).env(PLAN, &plan).start();
    if in_the_middle(draw, &scene, &mut running) {
        harm(draw, &scene.run());
    }
    let ended = scene.end(running);
    Played::new(scene, ended, Promise::SameBits).plus(1)
}

fn in_the_middle(draw: &Draw, scene: &Scene, running: &mut Running) -> bool {
    let step = 2 * EVERY + draw.below(STEPS / 4);
    scene.see(running, |run| ranks(run, 1).iter().any(|rank| rank.step >= step))
}

/// The heartbeats vanish under the ranks' hands.
pub fn heartbeats_removed(draw: &Draw) -> Played {
    let scene = Scene::new();
    let mut running = scene.launch(&HASTY).env(PLAN, SLOWLY).start();
    if in_the_middle(draw, &scene, &mut running) {
        fs::remove_file(scene.run().heartbeats()).unwrap();
    }
    let ended = scene.end(running);
    Played::new(scene, ended, Promise::SameBits).plus(1)
}

/// The journal loses its end in the middle of a line, or gets lines that make no sense.
pub fn journal_torn(draw: &Draw) -> Played {
    harmed(draw, |draw, run| {
        let file = fs::OpenOptions::new().write(true).open(run.journal()).unwrap();
        let length = file.metadata().unwrap().len();
        match draw.below(3) {
            0 => file.set_len(draw.below(length)).unwrap(),
            1 => file.write_all_at(&[0; 4096], length).unwrap(),
            _ => file.write_all_at(b"\xff\n{\"event\":\n", draw.below(length)).unwrap(),
        }
    })
}

/// Journal or status are gone, and a directory stands in their place: it cannot be written to, not even by root.
pub fn diary_replaced(draw: &Draw) -> Played {
    let scene = Scene::new();
    let plan = format!("{SLOWLY};kill@rank={},step={}", draw.below(RANKS as u64), STEPS / 2);
    let mut running = scene.launch(&PATIENT).env(PLAN, &plan).start();
    let path = if draw.below(2) == 0 { scene.run().journal() } else { scene.run().status() };
    if in_the_middle(draw, &scene, &mut running) {
        let _ = fs::remove_file(&path);
        // The status is replaced again and again, and may come back in between.
        let _ = fs::create_dir(&path);
    }
    let ended = scene.end(running);
    let _ = fs::remove_dir(&path);
    Played::new(scene, ended, Promise::Either).plus(1)
}

/// A file lies where the run keeps its checkpoints that bears the name of a newer one, and is none.
pub fn planted(draw: &Draw) -> Played {
    let scene = Scene::new();
    let ended = scene.end(scene.launch(&[]).env(PLAN, &format!("term@rank=0,step={}", STEPS / 2)).start());
    if ended.as_ref().is_none_or(|ended| ended.code != Some(75)) {
        return Played::new(scene, ended, Promise::Stop(75));
    }
    let path = scene.run().checkpoint_path(STEPS - EVERY / 2);
    let newest = scene.run().checkpoints().unwrap().remove(0).path;
    match draw.below(4) {
        0 => fs::write(path, b"").unwrap(),
        1 => fs::write(path, vec![draw.below(256) as u8; 100_000]).unwrap(),
        2 => fs::create_dir(path).unwrap(),
        // Good, but not what its name says.
        _ => drop(fs::copy(newest, path).unwrap()),
    }
    let ended = scene.end(scene.launch(&[]).start());
    let _ = fs::remove_dir(scene.run().checkpoint_path(STEPS - EVERY / 2));
    Played::new(scene, ended, Promise::SameBits).plus(1)
}

/// Leases with nonsense in them, and a request to stop that was meant for another launch.
pub fn stale_orders(draw: &Draw) -> Played {
    let scene = Scene::new();
    let run = scene.run();
    run.create().unwrap();
    let nonsense: Vec<u8> = (0..draw.below(300)).map(|_| draw.below(256) as u8).collect();
    match draw.below(3) {
        0 => fs::write(run.lease(), &nonsense).unwrap(),
        1 => fs::write(run.supervisor_lock(), &nonsense).unwrap(),
        _ => fs::write(run.stop_request(), &nonsense).unwrap(),
    }
    let ended = scene.play(&PATIENT, &format!("kill@{}", in_phase(draw, 1, "exchange")));
    Played::new(scene, ended, Promise::Either).plus(1)
}

/// The run directory is renamed while the run goes on, and comes back when it has ended.
pub fn directory_vanishes(draw: &Draw) -> Played {
    let scene = Scene::new();
    let mut running = scene.launch(&HASTY).env(PLAN, SLOWLY).start();
    let gone = scene.path("gone");
    if in_the_middle(draw, &scene, &mut running) {
        fs::rename(scene.path("hurt"), &gone).unwrap();
    }
    let ended = scene.end(running);
    // A run that could start over in its stead and came to its end has its result there.
    if gone.exists() && !scene.run().finished().exists() {
        let _ = fs::remove_dir_all(scene.path("hurt"));
        fs::rename(&gone, scene.path("hurt")).unwrap();
    }
    Played::new(scene, ended, Promise::Either).plus(1)
}

/// Permission is lost, for whom permissions mean anything.
pub fn permission_lost(draw: &Draw) -> Played {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    if nix::unistd::geteuid().is_root() {
        return Played::skipped(scene, "permissions mean nothing to root");
    }
    let mut running = scene.launch(&HASTY).env(PLAN, SLOWLY).start();
    let folder = scene.run().checkpoint_directory();
    if in_the_middle(draw, &scene, &mut running) {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    }
    let ended = scene.end(running);
    let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
    Played::new(scene, ended, Promise::Either).plus(1)
}

/// A small file system of its own, until the end of the play.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, bytes: u64) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Disk(path.to_owned()))
    }

    fn remount(&self, how: &str) {
        let _ = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).output();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The whole run directory lies on a disk that fills up, at any byte, and is cleared later.
pub fn disk_full(draw: &Draw) -> Played {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(&scene.path("hurt"), 2_000_000) else {
        return Played::skipped(scene, "mounting a small disk is not allowed here");
    };
    let mut running = scene.launch(&HASTY).env(PLAN, SLOWLY).start();
    let filler = disk.0.join("filler");
    if in_the_middle(draw, &scene, &mut running) {
        // As much as there is room for, but for a little.
        let _ = fs::write(&filler, vec![1; 2_000_000]);
        let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(draw.below(150_000))).unwrap();
        let failed = |event: &Event| matches!(event, Event::CheckpointFailed { .. });
        scene.see(&mut running, |run| events(run).iter().any(failed));
        if draw.below(2) == 0 {
            fs::remove_file(&filler).unwrap();
        }
    }
    let ended = scene.end(running);
    let _ = fs::remove_file(&filler);
    let played = Played::new(scene, ended, Promise::Either).plus(1);
    drop(disk);
    played
}

/// The file system turns read-only, for good or for a while.
pub fn read_only(draw: &Draw) -> Played {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(&scene.path("hurt/checkpoints"), 8_000_000) else {
        return Played::skipped(scene, "mounting a small disk is not allowed here");
    };
    let mut running = scene.launch(&HASTY).env(PLAN, SLOWLY).start();
    let mut injected = 0;
    if in_the_middle(draw, &scene, &mut running) {
        // A file that is open for writing forbids it.
        scene.see(&mut running, |_| {
            disk.remount("ro");
            fs::write(disk.0.join("probe"), "").is_err()
        });
        injected = 1;
        if draw.below(2) == 0 {
            let failed = |event: &Event| matches!(event, Event::CheckpointFailed { .. });
            scene.see(&mut running, |run| events(run).iter().any(failed));
            disk.remount("rw");
        }
    }
    let ended = scene.end(running);
    disk.remount("rw");
    let played = Played::new(scene, ended, Promise::Either).plus(injected);
    drop(disk);
    played
}
