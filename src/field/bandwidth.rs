//! How fast this node's memory is, to judge sweeps by.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rayon::prelude::*;

/// How long passes over the memory go on; preparing it takes about as long again.
const WINDOW: Duration = Duration::from_millis(40);

/// What caches are taken for where the system does not tell.
const USUAL_CACHE: usize = 32 << 20;

/// The most bytes that all processes of a node take, whatever its caches hold.
const MOST: usize = 1 << 30;

/// The fewest numbers of a thread in each of the two arrays: more than its own caches hold.
const FEWEST: usize = 1 << 19;

/// Two arrays that together with those of the node's other processes are too large for its caches, and a pool of threads that
/// goes over them.
///
/// A pass reads one array and writes another, as a sweep does (the kernel that STREAM calls scale; McCalpin 1995). Three
/// numbers are counted for each that is computed: one read, one written, and one that the processor reads before it
/// overwrites it. What a processor saves of the latter by
/// itself it saves in sweeps as well; what sweeps save by writing past the caches is to their credit.
#[derive(Debug)]
pub struct MemoryProbe<'a> {
    pool: &'a ThreadPool,
    from: Vec<f64>,
    to: Vec<f64>,
}

impl<'a> MemoryProbe<'a> {
    /// The bytes that one of so many processes on this node takes: all together four times what its last caches hold, within
    /// bounds.
    pub fn bytes(threads: usize, processes: usize) -> usize {
        let share = (4 * last_caches().unwrap_or(USUAL_CACHE)).min(MOST) / processes.max(1);
        share.max(2 * size_of::<f64>() * FEWEST * threads)
    }

    /// The share of one of so many processes on this node: [`Self::bytes`].
    pub fn new(pool: &'a ThreadPool, processes: usize) -> Self {
        let length = Self::bytes(pool.current_num_threads(), processes) / 2 / size_of::<f64>();
        let mut probe = MemoryProbe { pool, from: vec![0.0; length], to: vec![0.0; length] };
        // Pages lie where they are first written from, and none may be the one page of zeros that was never written.
        probe.each_part(|to, _| to.fill(1.0));
        std::mem::swap(&mut probe.from, &mut probe.to);
        probe.each_part(|to, _| to.fill(1.0));
        probe
    }

    /// The bytes that move to and from memory per second; with other processes, let all begin at once.
    ///
    /// # Units
    /// Bytes per second.
    pub fn bandwidth(&mut self) -> f64 {
        let (begun, mut passes) = (Instant::now(), 0);
        while passes == 0 || begun.elapsed() < WINDOW {
            self.each_part(scale);
            passes += 1;
        }
        // All of the time counts, so that processes that take turns on a core are not each taken for its only one.
        (passes * 3 * size_of_val(&self.to[..])) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Calls a function for the parts of both arrays that belong to a thread.
    fn each_part(&mut self, each: impl Fn(&mut [f64], &[f64]) + Sync + Send) {
        let MemoryProbe { pool, from, to } = self;
        let length = to.len().div_ceil(pool.current_num_threads());
        pool.install(|| to.par_chunks_mut(length).zip(from.par_chunks(length)).for_each(|(to, from)| each(to, from)));
        black_box(to);
    }
}

fn scale(to: &mut [f64], from: &[f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = 0.5 * from;
    }
}

/// The bytes of all caches of this node that lie next to its memory, as Linux tells them.
fn last_caches() -> Option<usize> {
    let mut last: Vec<(String, usize)> = Vec::new();
    for cpu in fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        let caches = fs::read_dir(cpu.path().join("cache")).into_iter().flatten().flatten();
        let told = caches.filter_map(|cache| {
            let read = |name: &str| fs::read_to_string(cache.path().join(name)).ok();
            let level: u32 = read("level")?.trim().parse().ok()?;
            Some((level, read("shared_cpu_list")?, bytes_of(read("size")?.trim())?))
        });
        // Each is told once for every core that shares it.
        if let Some((_, cores, bytes)) = told.max_by_key(|&(level, ..)| level)
            && !last.iter().any(|(others, _)| *others == cores)
        {
            last.push((cores, bytes));
        }
    }
    Some(last.iter().map(|(_, bytes)| bytes).sum()).filter(|&bytes| bytes > 0)
}

/// The bytes in a size such as `32768K`.
fn bytes_of(size: &str) -> Option<usize> {
    let (digits, unit) = match size.strip_suffix('K') {
        Some(digits) => (digits, 1 << 10),
        None => (size.strip_suffix('M')?, 1 << 20),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_kernel_writes_them() {
        assert_eq!([bytes_of("32768K"), bytes_of("1M")], [Some(32 << 20), Some(1 << 20)]);
        assert_eq!([bytes_of("K"), bytes_of("48"), bytes_of("")], [None; 3]);
    }

    #[test]
    fn memory_moves_something_on_any_number_of_threads() {
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let moved = MemoryProbe::new(&pool, 64).bandwidth();
            assert!(moved.is_finite() && moved > 1e6, "{threads} threads: {moved} bytes per second");
        }
    }
}
