//! Node-local checkpoints: a restart takes the newest that can be made whole, from whatever nodes are left, and the result
//! is that of an undisturbed run. The nodes are played by groups of ranks on this machine, with a folder each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steadfast::nearby::Folder;
use steadfast::rundir::{Event, RunDirectory, Status};

use super::stage::{Disk, Room, copy, events, flip_bit, gray_scott, hash, ranks, starts, totals};

fn case() -> String {
    gray_scott(
        [96, 96],
        [24, 16],
        2000.0,
        r#"
[[output]]
what = "totals"
every = { steps = 50 }
[checkpoint]
every = { steps = 400 }
[checkpoint.local]
every = { steps = 30 }
"#,
    )
}

/// Four ranks on three nodes: the copies of a lie on b, those of b on c, those of c on a.
const NODES: &str = "a,a,b,c";

/// What one piece's name and place tell: its step and save, its rank, its node.
type Lying = (u64, String, usize, String);

/// A run that was killed, and what it left in its run directory and on its nodes.
struct Scene {
    room: Room,
    run: RunDirectory,
    local: PathBuf,
    setting: String,
    whole: &'static (u64, String),
}

/// The hash and the totals of a run that nothing happens to.
fn undisturbed(room: &Room) -> &'static (u64, String) {
    static WHOLE: OnceLock<(u64, String)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        room.on(2, "gray_scott").runs("case.toml", "whole").set(&["checkpoint.local="]).ends_with(0);
        let run = room.run("whole");
        (hash(&run), totals(&run))
    })
}

impl Scene {
    /// The run as it is killed in its first attempt, some node-local checkpoints after a shared one.
    fn new() -> Scene {
        let room = Room::new();
        room.case("case.toml", &case());
        let whole = undisturbed(&room);
        let (run, local) = (room.run("run"), room.path("local"));
        let setting = format!("checkpoint.local.directory='{}'", local.display());
        let scene = Scene { run, local, setting, whole, room };
        let mut running =
            scene.room.on_nodes(NODES, "gray_scott").runs("case.toml", "run").set(&[&scene.setting]).start();
        running.wait_until("a node-local checkpoint after a shared one", || {
            let shared = scene.run.checkpoints().unwrap().first().map_or(u64::MAX - 100, |newest| newest.step);
            ranks(&scene.run, 1).len() == 4 && scene.whole(&["a", "b", "c"]).is_some_and(|step| step > shared + 40)
        });
        kill(Pid::from_raw(ranks(&scene.run, 1)[2].pid.cast_signed()), Signal::SIGKILL).unwrap();
        assert_ne!(running.end().code, Some(0));
        copy_tree(&scene.local, &scene.room.path("local.kept"));
        copy(&scene.run, &scene.room.run("run.kept"));
        scene
    }

    /// Puts everything back as it was right after the kill.
    fn reset(&self) {
        let _ = fs::remove_dir_all(&self.local);
        fs::remove_dir_all(self.run.root()).unwrap();
        copy_tree(&self.room.path("local.kept"), &self.local);
        copy(&self.room.run("run.kept"), &self.run);
    }

    fn folder(&self, node: &str) -> PathBuf {
        let run = fs::canonicalize(self.run.root()).unwrap_or_else(|_| self.run.root().to_owned());
        Folder::new(&self.local, &run, node).path().to_owned()
    }

    fn pieces(&self, nodes: &[&str]) -> Vec<(Lying, PathBuf)> {
        let mut pieces = Vec::new();
        for &node in nodes {
            for entry in fs::read_dir(self.folder(node)).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let Some(name) = name.strip_suffix(".piece") else { continue };
                let words: Vec<&str> = name.split('-').collect();
                let lying = (words[1].parse().unwrap(), words[2].into(), words[4].parse().unwrap(), node.into());
                pieces.push((lying, entry.path()));
            }
        }
        pieces
    }

    /// The newest step of which these nodes have the pieces of all four ranks.
    fn whole(&self, nodes: &[&str]) -> Option<u64> {
        let mut saves = BTreeMap::<(u64, String), BTreeSet<usize>>::new();
        for ((step, save, rank, _), _) in self.pieces(nodes) {
            saves.entry((step, save)).or_default().insert(rank);
        }
        saves.into_iter().rev().find(|(_, ranks)| ranks.len() == 4).map(|((step, _), _)| step)
    }

    /// Runs to the end on ranks of these nodes, and sees that the result is that of an undisturbed run; returns the step that
    /// it went on from.
    fn goes_on(&self, nodes: &str) -> u64 {
        let call = self.room.on_nodes(nodes, "gray_scott").runs("case.toml", "run").set(&[&self.setting]);
        let ended = call.ends_with(0);
        assert_eq!((hash(&self.run), totals(&self.run)), *self.whole, "{}", ended.err);
        starts(&self.run)[1].expect("it goes on from a checkpoint")
    }

    fn restored(&self) -> Option<(u64, usize, usize)> {
        events(&self.run).into_iter().find_map(|event| match event {
            Event::LocalRestored { step, copies, damaged, .. } => Some((step, copies, damaged)),
            _ => None,
        })
    }

    fn rejected(&self) -> Vec<(u64, String)> {
        let rejected = |event| match event {
            Event::LocalRejected { step, reason } => Some((step, reason)),
            _ => None,
        };
        events(&self.run).into_iter().filter_map(rejected).collect()
    }

    fn shared(&self) -> u64 {
        self.room.run("run.kept").checkpoints().unwrap()[0].step
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_restart_takes_the_newest_that_the_nodes_left_can_make_whole() {
    let scene = Scene::new();
    let newest = scene.whole(&["a", "b", "c"]).unwrap();
    assert!(newest > scene.shared());

    // On the same nodes, with the same ranks and with others.
    assert_eq!(scene.goes_on(NODES), newest);
    assert_eq!(scene.restored(), Some((newest, 0, 0)), "nothing came from a copy");
    assert!(scene.pieces(&["a", "b", "c"]).is_empty(), "a finished run leaves nothing on the nodes");
    for nodes in ["a,b,c", "c,b,a,a,b,c,a"] {
        scene.reset();
        assert_eq!(scene.goes_on(nodes), newest, "on {nodes}");
    }

    // One node is lost, each in turn: its blocks come from its partner.
    for (lost, left, nodes) in [("a", ["b", "c"], "b,c,c"), ("b", ["a", "c"], "a,c,a"), ("c", ["a", "b"], "a,b")] {
        scene.reset();
        fs::remove_dir_all(scene.folder(lost)).unwrap();
        let whole = scene.whole(&left).unwrap();
        assert_eq!(scene.goes_on(nodes), whole, "without {lost}");
        assert!(scene.restored().unwrap().1 > 0, "without {lost}, copies are used");
    }

    // A node and its partner are lost: the shared checkpoint is used, and the journal says why.
    scene.reset();
    assert_eq!(scene.goes_on("a,a"), scene.shared());
    let (step, reason) = &scene.rejected()[0];
    assert!(*step >= newest && reason.contains("its nodes b, c are not here"), "{reason}");
    assert_eq!(scene.restored(), None);

    // Before the first shared checkpoint a node-local one is enough.
    scene.reset();
    fs::remove_dir_all(scene.run.checkpoint_directory()).unwrap();
    assert_eq!(scene.goes_on(NODES), newest);
}

#[test]
fn a_damaged_piece_is_noticed_and_its_blocks_come_from_the_copy() {
    let of_rank_2 = |scene: &Scene| -> Option<[PathBuf; 2]> {
        let newest = scene.whole(&["a", "b", "c"])?;
        let pieces = scene.pieces(&["a", "b", "c"]).into_iter();
        let of_rank_2 = pieces.filter(|((step, _, rank, _), _)| (*step, *rank) == (newest, 2)).map(|(_, path)| path);
        of_rank_2.collect::<Vec<_>>().try_into().ok()
    };
    // The kill may have come between a piece and its copy.
    let scene =
        (0..9).map(|_| Scene::new()).find(|scene| of_rank_2(scene).is_some()).expect("a save with all its copies");
    let newest = scene.whole(&["a", "b", "c"]).unwrap();
    let [own, its_copy] = of_rank_2(&scene).unwrap();
    let length = fs::metadata(&own).unwrap().len();

    // In a block, in the front, and cut off.
    for (damage, blocks) in [(length - 100, 1), (100, 0), (u64::MAX, 0)] {
        scene.reset();
        match damage {
            u64::MAX => fs::File::options().write(true).open(&own).unwrap().set_len(length / 2).unwrap(),
            byte => flip_bit(&own, byte),
        }
        assert_eq!(scene.goes_on(NODES), newest);
        let (_, copies, damaged) = scene.restored().unwrap();
        assert!(copies > 0 && damaged == blocks, "{copies} copies, {damaged} damaged");
    }

    // The same block in both: an older checkpoint is used, and the journal says why.
    scene.reset();
    flip_bit(&own, length - 100);
    flip_bit(&its_copy, length - 100);
    assert!(scene.goes_on(NODES) < newest);
    let rejected = scene.rejected();
    assert!(rejected.iter().any(|(step, why)| *step == newest && why.contains("1 of its")), "{rejected:?}");
}

#[test]
fn pieces_of_another_run_or_of_one_that_starts_over_are_not_used() {
    let scene = Scene::new();
    let call = || scene.room.on_nodes(NODES, "gray_scott").runs("case.toml", "run").set(&[&scene.setting]);
    // The run directory was removed: what its run left on the nodes is nobody's.
    fs::remove_dir_all(scene.run.root()).unwrap();
    call().ends_with(0);
    assert_eq!((starts(&scene.run), hash(&scene.run)), (vec![None], scene.whole.0));
    assert!(scene.pieces(&["a", "b", "c"]).is_empty());

    scene.reset();
    call().args(&["--fresh"]).ends_with(0);
    assert_eq!((starts(&scene.run)[1], hash(&scene.run)), (None, scene.whole.0));

    // Another case before the first shared checkpoint: the pieces do not fit it.
    scene.reset();
    fs::remove_dir_all(scene.run.checkpoint_directory()).unwrap();
    call().set(&["model.feed=0.038"]).ends_with(0);
    assert_eq!(starts(&scene.run)[1], None);
}

#[test]
fn under_the_supervisor_a_killed_rank_costs_seconds_and_no_bits() {
    let room = Room::new();
    room.case("case.toml", &case());
    let whole = ["checkpoint.local=", "time.end=6000.0"];
    room.on(2, "gray_scott").runs("case.toml", "whole").set(&whole).ends_with(0);
    let setting = format!("checkpoint.local.directory='{}'", room.path("local").display());
    let settings =
        [&*setting, "checkpoint.every=never", "checkpoint.local.every={ wall = '50 ms' }", "time.end=6000.0"];
    let run = room.run("run");
    let mut running = room.supervised_on_nodes("a,b,b", "gray_scott").runs("case.toml", "run").set(&settings).start();
    let saved = || events(&run).iter().any(|event| matches!(event, Event::LocalSaved { nodes: 2, .. }));
    running.wait_until("a node-local checkpoint", || saved() && ranks(&run, 1).len() == 3);
    kill(Pid::from_raw(ranks(&run, 1)[1].pid.cast_signed()), Signal::SIGKILL).unwrap();
    let ended = running.ends_with(0);
    assert_eq!(hash(&run), hash(&room.run("whole")), "{}", ended.err);
    assert!(starts(&run)[1].is_some_and(|step| step > 0), "{:?}", events(&run));
    let status = Status::read(&run).unwrap().unwrap();
    assert!(status.last_local.is_some_and(|local| local.step > 0));
}

#[test]
fn a_full_or_missing_directory_warns_and_the_run_goes_on() {
    let room = Room::new();
    room.case("case.toml", &case());
    let whole = undisturbed(&room);
    let failures = |run: &RunDirectory| -> Vec<String> {
        let reason = |event| match event {
            Event::LocalFailed { reason, .. } => Some(reason),
            _ => None,
        };
        events(run).into_iter().filter_map(reason).collect()
    };
    let call = |directory: &Path, run: &str| {
        let setting = format!("checkpoint.local.directory='{}'", directory.display());
        room.on_nodes("a,b,b", "gray_scott").runs("case.toml", run).set(&[&setting]).ends_with(0);
        assert_eq!(hash(&room.run(run)), whole.0);
    };
    call(Path::new("/proc/nowhere"), "missing");
    let missing = failures(&room.run("missing"));
    // One at once, and one more after each shared checkpoint.
    assert!((2..=8).contains(&missing.len()) && missing[0].contains("checkpoint.local.directory"), "{missing:?}");

    let place = room.path("small");
    let Some(_disk) = Disk::mount(&place, 200_000) else { return };
    call(&place, "full");
    let full = failures(&room.run("full"));
    assert!(!full.is_empty() && full[0].contains("No space left"), "{full:?}");
    let left = walk(&place);
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(walk(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}
