//! A case file that nobody would write: as written → as checked, and what is written of it is the same case again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast::config::{Case, Family, Source, Subject, check};
use steadfast::field::{Component, ScalarKind};

fuzz_target!(|text: &str| {
    let components = [Component::scalar("u", "1"), Component::scalar("v", "1")];
    let Ok(source) = Source::from_text("fuzz.toml", text) else { return };
    let _ = (source.dimension(), source.recovery());
    for family in [Family::Model, Family::Law { has_contact: true }, Family::Program { counts_steps: false }] {
        for kind in [ScalarKind::F64, ScalarKind::U8] {
            let subject = Subject { family, components: &components, derived: &[], kind };
            let Ok((case, _)) = check::<toml::Table>(&source, &subject) else { continue };
            let again = Source::from_text("fuzz.toml", case.canonical()).and_then(|source| check::<toml::Table>(&source, &subject));
            let (again, _): (Case, _) = again.expect("what is written of a case is a case");
            assert_eq!(again.canonical(), case.canonical());
            assert_eq!(case.physics_difference(&again.physics()), None);
        }
    }
});
