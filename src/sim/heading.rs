//! What a checkpoint says about itself: everything that a restart needs besides the fields.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::Instant;
use super::driver::Simulation;
use super::program::Program;
use crate::checkpoint::Header;
use crate::error::{Error, Kind, Result};
use crate::field::Record;

/// The key under which a checkpoint has the instant before its own.
const BEFORE: &str = "before";

impl<P: Program<N>, const N: usize> Simulation<'_, P, N> {
    /// What the next file says about itself; an error of one rank is that of all.
    pub(super) fn header(&self) -> Result<Header> {
        self.comm.vote(self.own_header())
    }

    fn own_header(&self) -> Result<Header> {
        self.chronicle.run().heartbeat.injected_error()?;
        let Instant { step, time } = self.clock.now();
        let grid = self.domain.grid();
        let mut replicated = BTreeMap::from([(BEFORE.into(), serde_json::json!(self.clock.before()))]);
        let shared = written(&self.shared)?;
        if !shared.is_null() {
            replicated.insert(Header::SHARED.into(), shared);
        }
        Ok(Header {
            program: self.chronicle.run().program.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            run_id: self.run_id.clone(),
            epoch: self.chronicle.run().epoch,
            step,
            time,
            cells: grid.cells().to_vec(),
            lower: grid.lower().0.to_vec(),
            upper: grid.upper().0.to_vec(),
            periodic: grid.periodic().to_vec(),
            block: self.domain.tiling.shape().to_vec(),
            components: self.domain.components.clone(),
            scalar: P::State::kind(),
            case: self.case.canonical(),
            physics: self.case.physics(),
            replicated,
        })
    }
}

/// What all ranks hold alike, as a checkpoint has it; whatever is read back from that is the same to the last bit.
fn written<T: Serialize + DeserializeOwned>(shared: &T) -> Result<serde_json::Value> {
    // As JSON, maps are in the order of their keys; but only the length of the other form tells that a number was lost.
    let forms = |shared: &T| {
        let packed = rmp_serde::to_vec(shared).ok()?;
        Some((serde_json::to_value(shared).ok()?, packed.len()))
    };
    let now = forms(shared);
    let again = now.as_ref().and_then(|(value, _)| forms(&T::deserialize(value).ok()?));
    match (now, again) {
        (Some(now), Some(again)) if now == again => Ok(now.0),
        _ => Err(Error::new(Kind::State, "what all ranks hold alike would not be the same after a restart")
            .hint("its numbers must be finite, and its Serialize and Deserialize must fit each other")),
    }
}

/// The instant before that of a checkpoint, so that what was due then is due again.
pub(super) fn before(header: &Header) -> Option<Instant> {
    serde_json::from_value(header.replicated.get(BEFORE)?.clone()).ok()
}
