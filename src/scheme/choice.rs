//! Which scheme: what a case file chooses.

/// The profile of the primitive variables inside a cell, from which the states at its faces are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconstruction {
    /// The cell's mean everywhere: first order (Godunov 1959).
    Constant,
    /// A straight line with a limited slope: second order (van Leer 1979, doi:10.1016/0021-9991(79)90145-1).
    Plm,
    /// A parabola that keeps smooth extrema: fourth order at the faces (Colella and Sekora 2008,
    /// doi:10.1016/j.jcp.2008.03.034; McCorquodale and Colella 2011, doi:10.2140/camcos.2011.6.1).
    Ppm,
    /// A weighted sum of three parabolas: fifth order (Borges, Carmona, Costa and Don 2008,
    /// doi:10.1016/j.jcp.2007.11.038).
    WenoZ,
}

/// How the slope of a straight line follows from the differences to both neighbours; all are zero at an extremum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limiter {
    /// The smaller of the two: the most cautious (Roe 1986, doi:10.1146/annurev.fl.18.010186.002005).
    Minmod,
    /// Their harmonic mean: smooth (van Leer 1974, doi:10.1016/0021-9991(74)90019-9).
    VanLeer,
    /// The central difference, at most twice the smaller of the two: the sharpest (van Leer 1977,
    /// doi:10.1016/0021-9991(77)90095-X).
    MonotonizedCentral,
}

/// How the two states at a face make one flux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Riemann {
    /// The mean flux with the diffusion of the fastest signal (Rusanov 1961, doi:10.1016/0041-5553(62)90062-9).
    Rusanov,
    /// One mean state between the slowest and the fastest signal (Harten, Lax and van Leer 1983, doi:10.1137/1025002).
    Hll,
    /// Two states with a contact between them, for laws that have one (Toro, Spruce and Speares 1994,
    /// doi:10.1007/BF01414629).
    Hllc,
}

/// A finite-volume scheme: reconstruction, limiter and Riemann solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// The profile inside a cell.
    pub reconstruction: Reconstruction,
    /// How slopes are limited; only [`Reconstruction::Plm`] asks for it.
    pub limiter: Limiter,
    /// How fluxes are made.
    pub riemann: Riemann,
}

impl Reconstruction {
    /// How many cells on each side of a face its two states depend on.
    pub const fn reach(self) -> usize {
        match self {
            Reconstruction::Constant => 1,
            Reconstruction::Plm => 2,
            Reconstruction::Ppm | Reconstruction::WenoZ => 3,
        }
    }
}

impl Scheme {
    /// How far the rate of a cell reads, in cells along each axis.
    pub const fn reach(&self) -> usize {
        self.reconstruction.reach()
    }

    /// The same scheme with constant profiles, as the first stage of a predictor–corrector method uses it.
    #[must_use]
    pub const fn first_order(self) -> Self {
        Scheme { reconstruction: Reconstruction::Constant, ..self }
    }
}
