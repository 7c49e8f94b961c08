//! The table `[scheme]`: how a conservation law becomes fluxes.

use super::keys::{Table, Word};
use crate::error::Result;
use crate::scheme::{Limiter, Reconstruction, Riemann, Scheme};

/// The keys of `[scheme]`.
pub(super) const SCHEME_KEYS: [&str; 3] = ["reconstruction", "limiter", "riemann"];

impl Word for Reconstruction {
    const CHOICE: &'static str = "a reconstruction";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("constant", Reconstruction::Constant),
        ("plm", Reconstruction::Plm),
        ("ppm", Reconstruction::Ppm),
        ("weno_z", Reconstruction::WenoZ),
    ];
}

impl Word for Limiter {
    const CHOICE: &'static str = "a limiter";
    const WORDS: &'static [(&'static str, Self)] =
        &[("minmod", Limiter::Minmod), ("van_leer", Limiter::VanLeer), ("mc", Limiter::MonotonizedCentral)];
}

impl Word for Riemann {
    const CHOICE: &'static str = "a Riemann solver";
    const WORDS: &'static [(&'static str, Self)] =
        &[("rusanov", Riemann::Rusanov), ("hll", Riemann::Hll), ("hllc", Riemann::Hllc)];
}

/// Checks the scheme for a law that has a contact, or has none.
pub(super) fn check_scheme(scheme: &Table<'_>, has_contact: bool) -> Result<Scheme> {
    let reconstruction = scheme.get("reconstruction").map_or(Ok(Reconstruction::Plm), |value| value.word())?;
    let limiter = match scheme.get("limiter") {
        None => Limiter::VanLeer,
        Some(value) if reconstruction != Reconstruction::Plm => {
            return Err(value
                .wrong(&format!(
                    "is of no use: only plm has a limiter, and scheme.reconstruction is {}",
                    reconstruction.word()
                ))
                .hint("leave limiter out"));
        }
        Some(value) => value.word()?,
    };
    let best = if has_contact { Riemann::Hllc } else { Riemann::Hll };
    let riemann = match scheme.get("riemann") {
        None => best,
        Some(value) => match value.word()? {
            Riemann::Hllc if !has_contact => {
                return Err(value.wrong("needs a law with a contact wave, and this one has none").hint("use hll"));
            }
            riemann => riemann,
        },
    };
    Ok(Scheme { reconstruction, limiter, riemann })
}

/// The table of a scheme; of a limiter only where there is one.
pub(super) fn write_scheme(scheme: &Scheme) -> toml::Table {
    let limiter = (scheme.reconstruction == Reconstruction::Plm).then(|| ("limiter", scheme.limiter.word()));
    [("reconstruction", scheme.reconstruction.word()), ("riemann", scheme.riemann.word())]
        .into_iter()
        .chain(limiter)
        .map(|(key, word)| (key.to_owned(), word.into()))
        .collect()
}
