//! Conway's Game of Life on a torus: whole numbers, exact for ever.
//!
//! For a state of whole numbers the rate is the change from one generation to the next, modulo 256, and the case asks for
//! steps of 1 (Gardner 1970, Scientific American 223, doi:10.1038/scientificamerican1070-120).
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Life {
    /// The part of the cells that live at first.
    density: f64,
    /// Which soup: any number.
    seed: u64,
}

impl Model<2> for Life {
    type State = u8;
    const REACH: usize = 1;

    fn components() -> Vec<Component> {
        vec![Component::scalar("alive", "1")]
    }

    fn initial(&self, x: Vector<2>) -> u8 {
        let cell = Cell(x.0.map(|x| x.floor() as i64));
        u8::from(random::uniform(self.seed, cell) < self.density)
    }

    #[inline(always)]
    fn rate(&self, u: Stencil<'_, u8, 2>, _time: f64) -> u8 {
        let neighbours: u8 = Offset::within(1).map(|offset| u.at(offset)).sum();
        let next = u8::from(neighbours == 3 || (neighbours == 2 && u.here() == 1));
        next.wrapping_sub(u.here())
    }
}

fn main() -> ExitCode {
    steadfast::main_in::<Life, 2>()
}
