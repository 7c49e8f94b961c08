//! What the job scripts in slurm/ promise to those who copy them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All templates, with their text.
fn templates() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "sh"));
    let templates: Vec<_> = scripts.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    assert_eq!(templates.len(), 5);
    templates
}

fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_steadfast")).args([command, "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The options in the part of a command line that is the tool's own.
fn options(line: &str) -> Vec<&str> {
    let own = line.split(" -- ").next().unwrap();
    own.split_whitespace().filter(|word| word.starts_with('-')).collect()
}

#[test]
fn every_template_is_a_script_that_bash_understands() {
    for (path, text) in templates() {
        assert!(text.starts_with("#!/bin/bash\n"), "{}", path.display());
        let said = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(said.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn every_template_launches_with_options_that_there_are() {
    let help = help("launch");
    for (path, text) in templates() {
        let text = text.replace("\\\n", " ");
        let mut launches = text.lines().filter(|line| !line.starts_with('#') && line.contains("steadfast launch "));
        let launch = launches.next().unwrap_or_else(|| panic!("{} launches nothing", path.display()));
        for option in options(launch.split("steadfast launch ").nth(1).unwrap()) {
            let is_there = [" ", ",", "\n"].iter().any(|end| help.contains(&format!("{option}{end}")));
            assert!(is_there, "{option} of {}", path.display());
        }
    }
}

#[test]
fn slurm_reads_all_of_its_options() {
    for (path, text) in templates() {
        // After the first line that is neither a comment nor empty it reads no more.
        let head: Vec<&str> = text.lines().take_while(|line| line.is_empty() || line.starts_with('#')).collect();
        let all = text.lines().filter(|line| line.starts_with("#SBATCH")).count();
        let read = head.iter().filter(|line| line.starts_with("#SBATCH --")).count();
        assert!(all == read && all > 4, "{}: {read} of {all}", path.display());
    }
}

#[test]
fn every_template_is_in_the_readme() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/README.md")).unwrap();
    for (path, _) in templates() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("[{name}]({name})")), "{name}");
    }
}

#[test]
fn the_commands_of_the_readme_have_options_that_there_are() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/README.md")).unwrap();
    let help = help("submit");
    let lines = readme.lines().filter_map(|line| line.strip_prefix("steadfast submit "));
    for option in lines.flat_map(options).chain(["--revive", "--spare-nodes", "--dry-run"]) {
        assert!(help.contains(option), "{option}");
    }
}
