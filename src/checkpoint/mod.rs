//! What survives.
mod checksum;
mod create;
mod header;
mod layout;
mod open;
mod phases;
mod reader;
mod save;
mod stage;
pub mod store;
pub use header::Header;
pub use open::read_header;
pub use phases::{Fence, Verify};
pub use reader::{Fault, Reader, Report};
pub use save::save;
