//! Ranks without MPI, for tests: they write a checkpoint together on a simulated disk, as [`super::writer`] lets real ones do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::checksum;
use super::create::{Created, create};
use super::disk::{Disk, DiskFile};
use super::header::Header;
use super::header::tests::header;
use super::open::Opened;
use super::phases::{Fence, Job, Verify, Watch};
use super::simulated::{Medium, Mount, Random};
use super::store::{Past, retain_on};
use crate::error::{Error, Kind, Result};
use crate::field::ScalarKind;
use crate::grid::random::mix;
use crate::rundir::{checkpoint_name, step_of};

/// Where the checkpoints lie on every simulated disk.
pub(super) const DIRECTORY: &str = "/checkpoints";

/// The path of a checkpoint there.
pub(super) fn path_of(step: u64) -> PathBuf {
    Path::new(DIRECTORY).join(checkpoint_name(step))
}

/// The header of a small state: nine blocks of 1 KiB in each of two components.
pub(super) fn header_of(step: u64, epoch: u64) -> Header {
    Header { step, epoch, ..header(&[40, 24], &[16, 8], ScalarKind::F64, 2) }
}

/// The bytes of a block, which every attempt computes alike.
pub(super) fn block_of(header: &Header, component: usize, chunk: usize) -> Vec<u8> {
    let first = mix(header.step ^ mix((component * header.blocks() + chunk) as u64));
    (0..header.chunk_bytes() / 8).flat_map(|i| mix(first ^ i).to_le_bytes()).collect()
}

/// The ranks of an attempt.
pub(super) struct Crew {
    pub ranks: Vec<Mount>,
    pub epoch: u64,
    pub keep: usize,
    pub verify: Verify,
    pub fence: Option<Fence>,
    past: Past,
    random: Random,
}

impl Crew {
    /// As many ranks, which take their turns by a seed.
    pub fn new(medium: &Medium, ranks: usize, epoch: u64, seed: u64) -> Crew {
        Crew {
            ranks: (0..ranks).map(|_| medium.mount(epoch)).collect(),
            epoch,
            keep: 2,
            verify: Verify::All,
            fence: None,
            past: Past::default(),
            random: Random(seed),
        }
    }

    /// Whether a rank is dead, after which the launcher ends the others.
    pub fn is_dead(&self) -> bool {
        self.ranks.iter().any(Mount::is_dead)
    }

    /// How much of the next checkpoint is read back.
    pub fn next_verify(&self) -> Verify {
        self.past.verify(self.verify, self.keep)
    }

    /// Takes a checkpoint, from its creation to the removal of the ones that are too old.
    pub fn checkpoint(&mut self, step: u64) -> Result<()> {
        let verify = self.next_verify();
        let (job, created) = create(&self.ranks[0], path_of(step), header_of(step, self.epoch))?;
        let done = self.phases(&job, &created, verify);
        if let Err(error) = done {
            job.remove(&self.ranks[0]);
            if job.is_named(&self.ranks[0]) {
                self.past.doubt(step);
            }
            return Err(error);
        }
        // That an old one stays too long is no failure.
        let _ = retain_on(&self.ranks[0], Path::new(DIRECTORY), step, self.keep, &self.past, self.fence.as_ref());
        self.past.committed(step, verify);
        Ok(())
    }

    fn phases(&mut self, job: &Job, created: &Created, verify: Verify) -> Result<()> {
        let never = AtomicBool::new(false);
        let watch = Watch::new(&never, None);
        let (header, size) = (&job.header, self.ranks.len());
        let blocks = |rank: usize| (0..header.blocks()).filter(|chunk| chunk % size == rank).collect::<Vec<_>>();
        let handles: Vec<_> = self.ranks.iter().skip(1).map(|rank| job.open(rank)).collect::<Result<_>>()?;
        let files: Vec<&dyn DiskFile> =
            std::iter::once(created.file.as_ref()).chain(handles.iter().map(AsRef::as_ref)).collect();
        let both = || {
            (0..header.components.len()).flat_map(|component| (0..header.blocks()).map(move |chunk| (component, chunk)))
        };

        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by_key(|_| self.random.below(1 << 20));
        let written = order.iter().map(|&rank| {
            let own = blocks(rank);
            let components = 0..header.components.len();
            let bytes = components.flat_map(|c| own.iter().flat_map(move |&chunk| block_of(header, c, chunk)));
            job.write(files[rank], &own, &bytes.collect::<Vec<u8>>(), &watch)
        });
        // All ranks write; then they learn of the first failure.
        written.collect::<Vec<_>>().into_iter().collect::<Result<()>>()?;
        let checksums: Vec<u64> =
            both().map(|(c, chunk)| checksum::of_block(header, c, chunk, &block_of(header, c, chunk))).collect();
        let verified = order.iter().map(|&rank| {
            let others = blocks((rank + (size / 2).max(1)) % size);
            let components = 0..header.components.len();
            let theirs = components.flat_map(|c| others.iter().map(move |&chunk| job.layout.entry(c, chunk)));
            let theirs: Vec<u64> = theirs.map(|entry| checksums[entry]).collect();
            job.verify(files[rank], &others, &theirs, &watch, verify)
        });
        verified.collect::<Vec<_>>().into_iter().collect::<Result<()>>()?;
        let costs = vec![1.0; header.blocks()];
        job.commit(&self.ranks[0], created, &checksums, &costs, self.fence.as_ref())
    }
}

/// What a restart would find of files, judged by the code that real restarts use.
pub(super) struct Judge {
    place: tempfile::TempDir,
    verdicts: BTreeMap<(u64, u64), Result<(), String>>,
}

impl Judge {
    pub fn new() -> Judge {
        Judge { place: tempfile::tempdir().unwrap(), verdicts: BTreeMap::new() }
    }

    /// Whether a restart would take a file, and not notice any damage. It must hold the step's state to the last byte then.
    pub fn look(&mut self, step: u64, bytes: &[u8]) -> Result<(), String> {
        let key = (step, crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes));
        if let Some(verdict) = self.verdicts.get(&key) {
            return verdict.clone();
        }
        let path = self.place.path().join(checkpoint_name(step));
        std::fs::write(&path, bytes).unwrap();
        let verdict = read(&path, step).map_err(|error| error.to_string());
        std::fs::remove_file(&path).unwrap();
        self.verdicts.insert(key, verdict.clone());
        verdict
    }

    /// The checkpoints of a disk, newest first, and whether each is good.
    pub fn checkpoints(&mut self, medium: &Medium) -> Vec<(u64, Result<(), String>)> {
        let files = medium.files();
        let own = files.iter().filter_map(|(path, bytes)| Some((step_of(path.file_name()?.to_str()?)?, bytes)));
        let mut found: Vec<_> = own.map(|(step, bytes)| (step, self.look(step, bytes))).collect();
        found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
        found
    }

    /// The step that a restart goes on from.
    pub fn newest_good(&mut self, medium: &Medium) -> Option<u64> {
        self.checkpoints(medium).into_iter().find(|(_, verdict)| verdict.is_ok()).map(|(step, _)| step)
    }
}

/// Reads a checkpoint as a restart does.
fn read(path: &Path, step: u64) -> Result<()> {
    let opened = Opened::open(path)?;
    let header = &opened.header;
    let mut bytes = vec![0; header.chunk_bytes() as usize];
    for component in 0..header.components.len() {
        for chunk in 0..header.blocks() {
            opened.read_chunk(component, chunk, &mut bytes)?;
            assert_eq!(
                bytes,
                block_of(&header_of(step, 0), component, chunk),
                "damage passes unnoticed in step {step}"
            );
        }
    }
    assert_eq!(*header, header_of(step, header.epoch), "another header passes unnoticed");
    if opened.costs.iter().any(|&cost| cost != 1.0) {
        return Err(Error::new(Kind::Internal, "other costs pass unnoticed"));
    }
    Ok(())
}

/// Removes what dead attempts left, as the holder of a new lease does before it looks for checkpoints.
pub(super) fn sweep(disk: &dyn Disk) -> std::io::Result<()> {
    for name in disk.names(Path::new(DIRECTORY))? {
        if name.ends_with(".partial") {
            disk.remove(&Path::new(DIRECTORY).join(name))?;
        }
    }
    Ok(())
}

/// How many seeds a test goes through: a few, or as many as the environment asks for.
pub(super) fn seeds(few: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of seeds"));
    match (number("STEADFAST_CHAOS_SEED"), number("STEADFAST_CHAOS_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, many) => 0..many.unwrap_or(few),
    }
}
