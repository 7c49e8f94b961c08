//! The processor, the memory, the clock and the HDF5 library.

use std::time::{Duration, Instant, SystemTime};

use super::Check;
use crate::cli::show;
use crate::field::MemoryProbe;
use crate::sim::layout::Memory;

/// Looks at the machine itself.
pub fn look() -> Vec<Check> {
    vec![cores(), memory(), bandwidth(), clock(), hdf5()]
}

fn cores() -> Check {
    match std::thread::available_parallelism() {
        Ok(cores) => Check::ok("cores", format!("{cores} for this process")),
        Err(cause) => Check::warn("cores", format!("unknown: {cause}"), "say how many ranks and threads to use"),
    }
}

fn memory() -> Check {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match (memory_of(&text, "MemAvailable"), memory_of(&text, "MemTotal")) {
        (Some(free), Some(all)) => Check::ok("memory", format!("{} free of {}", show::bytes(free), show::bytes(all))),
        _ => Check::warn("memory", "unknown", "`PROGRAM plan` says what a case needs; compare it with what is here"),
    }
}

/// Whether a measurement could take what others need.
fn is_too_full(pool: &rayon::ThreadPool) -> bool {
    let needed = MemoryProbe::bytes(pool.current_num_threads(), 1) as u64;
    !Memory::of_this_node().is_some_and(|memory| memory.spares(needed))
}

/// What bounds every sweep over more than the caches hold.
fn bandwidth() -> Check {
    // As many threads as there are cores.
    match rayon::ThreadPoolBuilder::new().build() {
        Ok(pool) if is_too_full(&pool) => Check::warn(
            "bandwidth",
            "unknown: there is not memory enough to measure it",
            "run the doctor where less is running, or with a larger limit of memory",
        ),
        Ok(pool) => {
            let (moved, threads) = (MemoryProbe::new(&pool, 1).bandwidth(), pool.current_num_threads());
            let plural = if threads == 1 { "" } else { "s" };
            Check::ok("bandwidth", format!("{}B/s to and from memory, by {threads} thread{plural}", show::rate(moved)))
        }
        Err(cause) => Check::warn(
            "bandwidth",
            format!("unknown: {cause}"),
            "let the doctor start as many threads as there are cores",
        ),
    }
}

/// The bytes in a line such as `MemTotal:  24034132 kB`.
fn memory_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Heartbeats and hang limits need a clock that runs steadily; journals need the right date.
fn clock() -> Check {
    let (wall, steady) = (SystemTime::now(), Instant::now());
    let pause = Duration::from_millis(50);
    std::thread::sleep(pause);
    let steady = steady.elapsed();
    let year_2020 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    if wall < year_2020 {
        return Check::fail("clock", "the date lies before 2020", "set the clock, or start a time service");
    }
    match wall.elapsed() {
        Ok(passed) if passed.abs_diff(steady) < pause => {
            Check::ok("clock", jiff::Timestamp::now().strftime("%F %TZ").to_string())
        }
        _ => Check::warn("clock", "the date jumps", "let a time service slew the clock, not step it"),
    }
}

fn hdf5() -> Check {
    let version = hdf5::library_version();
    let (major, minor, patch) = version;
    let found = format!("{major}.{minor}.{patch}");
    match version >= (1, 10, 5) {
        true => Check::ok("HDF5", found),
        false => Check::fail(
            "HDF5",
            format!("{found}; 1.10.5 is the first that tells where chunks lie"),
            "install a newer libhdf5, or build with --features hdf5-source",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24034132 kB\nMemFree:         1234 kB\n";
        assert_eq!(memory_of(text, "MemTotal"), Some(24_034_132 * 1024));
        assert_eq!(memory_of(text, "MemAvailable"), None);
    }

    #[test]
    fn the_machine_that_runs_the_tests_is_sound() {
        assert!(look().iter().all(|check| check.verdict != Verdict::Fail), "{:?}", look());
    }
}
