//! What a power loss, a kill or a failure at any call of a checkpoint leaves, on a disk that the test owns.
//!
//! Each test walks through all calls that three ranks make from the creation of a checkpoint to the last removal of an old
//! one. FORMAT.md says what must be true at each of them.

use std::collections::BTreeSet;
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};
use nix::errno::Errno;

use super::crew::{Crew, DIRECTORY, Judge, block_of, header_of, path_of, seeds, sweep};
use super::disk::Disk;
use super::phases::Verify;
use super::simulated::{Fault, Medium, Verb};
use crate::grid::random::mix;
use crate::rundir::partial_of;

const RANKS: usize = 3;

/// A disk with two checkpoints, of steps 1 and 2; a third one makes the first go.
fn with_two() -> Medium {
    let medium = Medium::default();
    let mut crew = Crew::new(&medium, RANKS, 1, 0);
    crew.checkpoint(1).unwrap();
    crew.checkpoint(2).unwrap();
    medium
}

/// How many calls each rank makes for the third checkpoint.
fn calls_of_third(medium: &Medium) -> Vec<usize> {
    let mut crew = Crew::new(&medium.copy(), RANKS, 1, 0);
    crew.checkpoint(3).unwrap();
    crew.ranks.iter().map(|rank| rank.trace().len()).collect()
}

fn steps_of(judge: &mut Judge, medium: &Medium) -> Vec<u64> {
    judge.checkpoints(medium).into_iter().map(|(step, _)| step).collect()
}

/// What tells an image from another.
fn digest_of(image: &Medium) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for (path, bytes) in image.files() {
        digest.update(path.as_os_str().as_encoded_bytes());
        digest.update(&bytes);
    }
    digest.finalize()
}

/// A final name is a promise: whoever bears it is good.
fn assert_all_good(judge: &mut Judge, medium: &Medium, place: &str) {
    for (step, verdict) in judge.checkpoints(medium) {
        assert_eq!(verdict, Ok(()), "step {step}, {place}");
    }
}

#[test]
fn power_lost_at_any_call_leaves_a_good_checkpoint_and_the_newest_once_it_is_committed() {
    let (before, mut judge, mut images) = (with_two(), Judge::new(), BTreeSet::new());
    let places = calls_of_third(&before).into_iter().sum::<usize>() + 1;
    let chosen = seeds(16 * places as u64);
    let (mut tried, mut newer) = (0, 0);
    for n in 0..places {
        let medium = before.copy();
        medium.cut_power_after(n);
        let ended = Crew::new(&medium, RANKS, 1, n as u64).checkpoint(3);
        for seed in chosen.clone().filter(|seed| seed % places as u64 == n as u64) {
            let (image, place) =
                (medium.after_power_loss(mix(seed)), format!("power lost before call {n}, seed {seed}"));
            tried += 1;
            assert_all_good(&mut judge, &image, &place);
            let newest = judge.newest_good(&image);
            assert!(newest == Some(3) || newest == Some(2) && ended.is_err(), "{newest:?}, {place}");
            newer += u64::from(newest == Some(3));
            if images.insert(digest_of(&image)) {
                let mut next = Crew::new(&image, RANKS, 2, seed);
                sweep(&next.ranks[0]).unwrap();
                next.checkpoint(4).unwrap_or_else(|error| panic!("{error}, {place}"));
                assert_eq!(steps_of(&mut judge, &image), [4, newest.unwrap()], "{place}");
            }
        }
    }
    println!(
        "power lost {tried} times at {places} calls: {} different images, {newer} with the new checkpoint",
        images.len()
    );
    assert!(tried < 1000 || images.len() > 50 && newer > 0, "{} of {tried} images, {newer} newer", images.len());
}

#[test]
fn a_rank_killed_at_any_call_leaves_the_checkpoints_before_and_the_new_one_whole_or_absent() {
    let (before, mut judge) = (with_two(), Judge::new());
    let mut killed = 0;
    for (rank, calls) in calls_of_third(&before).into_iter().enumerate() {
        for n in 0..calls {
            let (medium, place) = (before.copy(), format!("rank {rank} killed before call {n}"));
            let mut crew = Crew::new(&medium, RANKS, 1, n as u64);
            crew.ranks[rank].fault_after(n, Fault::Dies);
            let ended = crew.checkpoint(3);
            killed += 1;
            assert_all_good(&mut judge, &medium, &place);
            let left = steps_of(&mut judge, &medium);
            assert!([&[2, 1][..], &[3, 2, 1], &[3, 2]].contains(&&left[..]), "{left:?}, {place}");
            assert!(ended.is_err() || left[0] == 3, "{place}");
            let mut next = Crew::new(&medium, RANKS, 2, 0);
            sweep(&next.ranks[0]).unwrap();
            next.checkpoint(3).unwrap();
            assert_eq!(steps_of(&mut judge, &medium), [3, 2], "{place}");
        }
    }
    assert!(killed > 60, "{killed}");
}

/// Lets one call of one rank meet a fault, and says how the third checkpoint ended; the trace of that rank comes with it.
fn with_fault(medium: &Medium, rank: usize, n: usize, fault: Fault) -> (crate::error::Result<()>, (Verb, bool)) {
    let mut crew = Crew::new(medium, RANKS, 1, n as u64);
    crew.ranks[rank].fault_after(n, fault);
    let ended = crew.checkpoint(3);
    let (verb, path) = crew.ranks[rank].trace()[n].clone();
    (ended, (verb, path == path_of(3)))
}

#[test]
fn any_call_that_fails_costs_this_checkpoint_at_most_and_leaves_nothing_half_done() {
    let (before, mut judge) = (with_two(), Judge::new());
    let (mut failed, mut discarded) = (0, 0);
    for (rank, calls) in calls_of_third(&before).into_iter().enumerate() {
        for n in 0..calls {
            for errno in [Errno::ENOSPC, Errno::EIO, Errno::EDQUOT, Errno::EROFS, Errno::ENOENT, Errno::EACCES] {
                let medium = before.copy();
                let (ended, (verb, _)) = with_fault(&medium, rank, n, Fault::Fails(errno));
                let place = format!("{errno} at call {n} of rank {rank}, {verb:?}");
                failed += 1;
                assert_all_good(&mut judge, &medium, &place);
                let left = steps_of(&mut judge, &medium);
                match &ended {
                    Ok(()) => assert!(left == [3, 2] || left == [3, 2, 1], "{left:?}, {place}"),
                    Err(_) if verb == Verb::SyncDirectory => assert_eq!(left, [3, 2, 1], "{place}"),
                    Err(error) => {
                        assert_eq!(left, [2, 1], "{place}");
                        assert_eq!(error.kind(), crate::error::Kind::Io, "{place}: {error}");
                        assert!(error.to_string().contains("/checkpoints/step-0000000003.h5"), "{place}: {error}");
                    }
                }
                discarded += usize::from(ended.is_err());
                assert!(!medium.files().contains_key(&partial_of(&path_of(3), 1)), "something is left: {place}");
                for seed in 0..3 {
                    let image = medium.after_power_loss(seed);
                    assert_all_good(&mut judge, &image, &place);
                    let newest = judge.newest_good(&image);
                    assert!(newest == Some(3) || newest == Some(2) && ended.is_err(), "{newest:?}, {place}");
                }
            }
        }
    }
    println!("{failed} calls failed, which discarded the checkpoint {discarded} times");
    assert!(discarded > 300, "{discarded} of {failed}");
}

#[test]
fn after_any_failure_the_next_checkpoint_leaves_two_that_last() {
    let (before, mut judge) = (with_two(), Judge::new());
    for n in 0..calls_of_third(&before)[0] {
        for fault in [Fault::Fails(Errno::EIO), Fault::DoneButFails(Errno::EIO)] {
            let medium = before.copy();
            let mut crew = Crew::new(&medium, RANKS, 1, 0);
            crew.ranks[0].fault_after(n, fault);
            let third = crew.checkpoint(3);
            crew.checkpoint(4).unwrap();
            // Whatever was not made durable until now never will be.
            let lasting = steps_of(&mut judge, &medium.after_power_loss(0));
            assert!(
                lasting.starts_with(&[4, 3]) || third.is_err() && lasting.starts_with(&[4, 2]),
                "{lasting:?}, {fault:?} at call {n}"
            );
        }
    }
}

#[test]
fn a_renaming_whose_answer_is_lost_is_a_commit() {
    let (before, mut judge) = (with_two(), Judge::new());
    let trace = {
        let mut crew = Crew::new(&before.copy(), RANKS, 1, 0);
        crew.checkpoint(3).unwrap();
        crew.ranks[0].trace()
    };
    let rename = trace.iter().position(|(verb, _)| *verb == Verb::Rename).unwrap();
    let medium = before.copy();
    with_fault(&medium, 0, rename, Fault::DoneButFails(Errno::EIO)).0.unwrap();
    assert_eq!(steps_of(&mut judge, &medium.after_power_loss(0))[..2], [3, 2]);
}

#[test]
fn interrupted_and_short_calls_give_the_same_file() {
    let (before, mut calls) = (with_two(), 0);
    let whole = before.copy();
    Crew::new(&whole, RANKS, 1, 0).checkpoint(3).unwrap();
    for (rank, count) in calls_of_third(&before).into_iter().enumerate() {
        for n in 0..count {
            for fault in [Fault::Fails(Errno::EINTR), Fault::Short] {
                let medium = before.copy();
                let mut crew = Crew::new(&medium, RANKS, 1, 0);
                crew.ranks[rank].fault_after(n, fault);
                let ended = crew.checkpoint(3);
                let verb = crew.ranks[rank].trace()[n].0;
                if fault == Fault::Short || [Verb::Read, Verb::Write].contains(&verb) {
                    ended.unwrap();
                    assert_eq!(medium.files(), whole.files(), "{fault:?} at call {n} of rank {rank}, {verb:?}");
                    calls += usize::from([Verb::Read, Verb::Write].contains(&verb));
                }
            }
        }
    }
    assert!(calls > 50, "{calls}");
}

#[test]
fn a_write_that_lies_is_noticed_before_the_commit() {
    let (before, mut judge) = (with_two(), Judge::new());
    let (mut lies, mut noticed) = (0, 0);
    for (rank, calls) in calls_of_third(&before).into_iter().enumerate() {
        for n in 0..calls {
            for fault in [Fault::Loses, Fault::Flips] {
                let medium = before.copy();
                let (ended, (verb, _)) = with_fault(&medium, rank, n, fault);
                if verb == Verb::Write {
                    lies += 1;
                    noticed += usize::from(ended.is_err());
                    assert!(ended.is_err(), "{fault:?} at call {n} of rank {rank}");
                    assert_eq!(steps_of(&mut judge, &medium), [2, 1]);
                }
            }
        }
    }
    println!("{noticed} of {lies} writes that lied were noticed");
    assert!(lies > 30);
}

#[test]
fn a_lie_that_was_not_looked_for_is_noticed_at_the_restart() {
    let mut judge = Judge::new();
    let mut damaged = 0;
    for n in 0.. {
        let medium = Medium::default();
        let mut crew = Crew::new(&medium, RANKS, 1, 0);
        crew.verify = Verify::None;
        crew.checkpoint(1).unwrap();
        assert_eq!(crew.next_verify(), Verify::None);
        let before = crew.ranks[1].trace().len();
        crew.ranks[1].fault_after(n, Fault::Loses);
        crew.checkpoint(2).unwrap();
        if crew.ranks[1].trace().len() - before <= n {
            break;
        }
        let newest = judge.newest_good(&medium.after_power_loss(0)).unwrap();
        damaged += usize::from(newest == 1);
        assert_eq!(crew.next_verify(), Verify::All);
        crew.checkpoint(3).unwrap();
        assert_eq!(judge.newest_good(&medium), Some(3));
    }
    assert!(damaged > 0, "some lie must have met a block");
}

#[test]
fn a_failed_sync_is_final_although_the_next_one_says_yes() {
    let medium = Medium::default();
    let process = medium.mount(1);
    let file = process.create(&path_of(1)).unwrap();
    process.sync_directory(Path::new(DIRECTORY)).unwrap();
    file.write_whole(&[7; 100], 0).unwrap();
    process.fault_after(0, Fault::Fails(Errno::EIO));
    file.sync().unwrap_err();
    file.sync().unwrap();
    let mut seen = [0; 100];
    file.read_whole(&mut seen, 0).unwrap();
    assert_eq!(seen, [7; 100], "the page cache has it");
    assert!(medium.after_power_loss(1).files()[&path_of(1)].is_empty(), "and the disk never will");

    let before = with_two();
    let trace = {
        let mut crew = Crew::new(&before.copy(), RANKS, 1, 0);
        crew.checkpoint(3).unwrap();
        crew.ranks[0].trace()
    };
    let syncs = trace.iter().enumerate().filter(|(_, (verb, _))| *verb == Verb::Sync).map(|(n, _)| n);
    for n in syncs {
        let medium = before.copy();
        let mut crew = Crew::new(&medium, RANKS, 1, 0);
        crew.ranks[0].fault_after(n, Fault::Fails(Errno::EIO));
        crew.checkpoint(3).unwrap_err();
        let after =
            crew.ranks[0].trace()[n + 1..].iter().filter(|(verb, _)| [Verb::Sync, Verb::Rename].contains(verb)).count();
        assert_eq!(after, 0, "neither is a sync tried again nor anything renamed");
    }
}

#[test]
fn a_disk_without_room_is_noticed_before_anything_is_written_and_both_numbers_are_named() {
    let before = with_two();
    let needed = before.files()[&path_of(1)].len();
    for missing in [1, needed / 2, needed] {
        let medium = before.copy();
        medium.resize(Some(medium.used() + needed - missing));
        let mut crew = Crew::new(&medium, RANKS, 1, 0);
        let error = crew.checkpoint(3).unwrap_err().to_string();
        assert!(error.contains(&format!("needs {needed} bytes")), "{error}");
        assert!(
            error.contains(&format!("has {} bytes free", needed - missing)) && error.contains("hint: free"),
            "{error}"
        );
        assert!(crew.ranks[0].trace().iter().all(|(verb, _)| *verb != Verb::Create), "nothing is begun");
        assert_eq!(medium.files(), before.files());
    }
    let medium = before.copy();
    medium.resize(Some(medium.used() + needed));
    Crew::new(&medium, RANKS, 1, 0).checkpoint(3).unwrap();
}

#[test]
fn a_disk_that_turns_read_only_or_vanishes_at_any_call_keeps_what_it_had() {
    let (before, mut judge) = (with_two(), Judge::new());
    for n in 0..calls_of_third(&before)[0] {
        for errno in [Errno::EROFS, Errno::ENOENT] {
            let medium = before.copy();
            let mut crew = Crew::new(&medium, RANKS, 1, 0);
            let disk = medium.clone();
            crew.ranks[0].pause_after(n, move || disk.refuse(Some(errno)));
            let ended = crew.checkpoint(3);
            let left = steps_of(&mut judge, &medium);
            assert!(
                left[..] == [2, 1] && ended.is_err() || left[0] == 3 && left[1] == 2,
                "{left:?}: {errno} at call {n}"
            );
            medium.refuse(None);
            // What could not be removed is swept by the next owner of the lease, or written over by the next try.
            let mut next = Crew::new(&medium, RANKS, 2, 0);
            sweep(&next.ranks[0]).unwrap();
            next.checkpoint(4).unwrap();
            assert_eq!(steps_of(&mut judge, &medium), [4, left[0]], "{errno} at call {n}");
        }
    }
}

#[test]
fn the_blocks_of_the_tests_differ() {
    let header = header_of(3, 1);
    assert_ne!(block_of(&header, 0, 1), block_of(&header, 1, 0));
    assert_ne!(block_of(&header, 0, 0), block_of(&header_of(2, 1), 0, 0));
}
