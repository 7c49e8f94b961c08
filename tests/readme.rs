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
