//! The memory that a sweep of a law works in, kept from one sweep to the next so that no step allocates.

/// How many cells or faces are computed side by side, as in every sweep. A constant number, so that the compiler needs no
/// bounds checks and fills vectors whole. The ends of rows are padded to it.
pub(super) use crate::field::LANES;

/// One number in each of some neighbouring cells or faces.
pub(super) type Strip = [f64; LANES];

/// A record in each of some neighbouring cells or faces, component by component.
pub(super) type Strips = [Strip; MOST_COMPONENTS];

/// The largest number of components that the state or the primitive variables of a law can have.
pub const MOST_COMPONENTS: usize = 16;

/// The memory that a sweep of a law works in; one for each thread that sweeps.
///
/// It grows to what the largest region so far needed, and is then reused without being cleared.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// Rows of primitive variables: `[layer of the ring][row][component][x]`.
    pub(super) primitives: Vec<f64>,
    /// Through the faces along the row.
    pub(super) along: FluxRow,
    /// Through the faces between this row and the next one of its layer.
    pub(super) between_rows: FluxRow,
    /// What this row gets through the faces to the row before it: `[component][x]`.
    pub(super) from_row: Vec<f64>,
    /// Through the faces between this row and the one in the next layer.
    pub(super) between_layers: FluxRow,
    /// What each row of this layer gets through the faces to the layer before it: `[row][component][x]`.
    pub(super) from_layer: Vec<f64>,
    /// The x of the cells of a row.
    pub(super) places: Vec<f64>,
    pub(super) strips: Box<FaceStrips>,
}

/// The fluxes through a row of faces, `[component][x]`, as the cells on their low and on their high side see them.
#[derive(Debug, Clone, Default)]
pub(super) struct FluxRow {
    pub to_low: Vec<f64>,
    pub to_high: Vec<f64>,
}

/// What is needed at some neighbouring faces: low side first.
#[derive(Debug, Clone, Default)]
pub(super) struct FaceStrips {
    pub cells: [Strips; 2],
    pub faces: [Strips; 2],
    pub fluxes: [Strips; 2],
}

/// Makes a buffer long enough.
pub(super) fn reserve(buffer: &mut Vec<f64>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
}

/// The numbers at a place of a row, one a lane.
#[inline(always)]
pub(super) fn strip(row: &[f64], at: usize) -> &Strip {
    row[at..at + LANES].first_chunk().expect("a strip has one number a lane")
}

/// The numbers at a place of a row, one a lane, to be changed.
#[inline(always)]
pub(super) fn strip_mut(row: &mut [f64], at: usize) -> &mut Strip {
    row[at..at + LANES].first_chunk_mut().expect("a strip has one number a lane")
}
