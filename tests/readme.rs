//! What the README shows is what lies in the tree.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

/// The blocks of code of one language in a page.
fn code<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_heat_program_and_its_case_are_shown_whole() {
    let readme = read("README.md");
    for (language, path) in [("rust", "examples/heat.rs"), ("toml", "examples/heat.toml")] {
        assert!(code(&readme, language).contains(&read(path).as_str()), "README.md does not show {path} as it is");
    }
}

#[test]
fn a_new_physics_takes_at_most_forty_lines() {
    let lines = read("examples/heat.rs").lines().count();
    assert!(lines <= 40, "examples/heat.rs has {lines} lines");
    assert!(read("README.md").contains(&format!("{lines} lines")), "README.md does not say that it has {lines} lines");
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/accuracy.md",
        "FAILURES.md",
        "docs/faults.md",
        "slurm/README.md",
        "docs/slurm.md",
    ];
    for page in pages {
        let folder = root.join(page).parent().unwrap().to_owned();
        let text = read(page);
        let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(folder.join(link).exists(), "{page} links to {link}, which is not there");
        }
    }
}

/// The parts of a message that are the same whatever happens: between `…`, names in capitals and numbers.
fn fixed_parts(message: &str) -> Vec<String> {
    let varies = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains('…') || bare.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let mut parts = vec![String::new()];
    for word in message.split(' ') {
        if varies(word) {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            *part += if part.is_empty() { "" } else { " " };
            *part += word;
        }
    }
    parts.retain(|part| part.len() >= 10);
    parts
}

#[test]
fn every_message_that_is_explained_is_one_that_is_said() {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let files = folders.filter_map(|folder| std::fs::read_dir(folder.unwrap().path()).ok()).flatten();
    let code: String = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok()).collect();
    let page = read("FAILURES.md");
    let table = page.split("## What the messages mean").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").next().unwrap());
    let messages: Vec<&str> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(messages.len() > 20, "{messages:?}");
    for message in messages {
        for part in fixed_parts(message) {
            assert!(code.contains(&part), "FAILURES.md explains \"{message}\", but nothing says \"{part}\"");
        }
    }
}
