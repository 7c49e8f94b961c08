//! What the driver spoils when a plan of faults wants it: the state, what is sent, and what is to be written.

use super::domain::Domain;
use crate::checkpoint::Writer;
use crate::field::{Record, Scalar};
use crate::rundir::{Heartbeat, Spoil};

/// Spoils the state, or the exchange that comes next.
pub(super) fn before_step<S: Record, const N: usize>(heartbeat: &Heartbeat, domain: &mut Domain<S, N>, step: u64) {
    for spoil in heartbeat.spoils(step, |spoil| !matches!(spoil, Spoil::FlipStaging { .. })) {
        match spoil {
            Spoil::FlipField { block, byte } => flip_field(domain, block, byte),
            Spoil::FlipMessage => domain.exchange.flip_next_message(),
            Spoil::SkipSend => domain.exchange.skip_next_send(),
            Spoil::FlipStaging { .. } => {}
        }
    }
}

/// Spoils the copy that the next checkpoint is written from.
pub(super) fn before_checkpoint<T: Scalar>(heartbeat: &Heartbeat, writer: &mut Writer<T>, step: u64) {
    for spoil in heartbeat.spoils(step, |spoil| matches!(spoil, Spoil::FlipStaging { .. })) {
        if let Spoil::FlipStaging { byte } = spoil {
            writer.flip_next(byte);
        }
    }
}

/// Flips a bit of the interior's first component: a ghost would get its right value again before anybody looks.
fn flip_field<S: Record, const N: usize>(domain: &mut Domain<S, N>, block: usize, byte: usize) {
    let mut blocks = domain.state.blocks();
    let Some(id) = block.checked_rem(blocks.len()).and_then(|place| blocks.nth(place)) else { return };
    let (cells, size) = (domain.tiling.region(id), size_of::<S::Scalar>());
    if let Some(cell) = cells.cells().nth(byte / size % cells.volume()) {
        let place = domain.state.place_of(id);
        let patch = &mut domain.state.patches_mut()[place];
        let at = patch.position(cell);
        Spoil::flip(bytemuck::bytes_of_mut(&mut patch.data_mut()[at]), byte);
    }
}
