//! What an iteration does to vectors, row by row.

use crate::comm::ExactSum;
use crate::field::Field;

/// Changes each cell of `to` as the rule says, which also gets the same cell of `from`.
pub(super) fn update<const N: usize>(to: &mut Field<f64, N>, from: &Field<f64, N>, rule: impl Fn(&mut f64, f64)) {
    for (to, from) in to.blocks_mut().iter_mut().zip(from.blocks()) {
        let rows = to.rows(&to.interior()).zip(from.rows(&from.interior()));
        let (to, from) = (to.data_mut(), from.data());
        for (row, source) in rows {
            to[row].iter_mut().zip(&from[source]).for_each(|(to, &from)| rule(to, from));
        }
    }
}

/// The scalar product of two fields of one number a cell, as far as this rank has them.
pub(super) fn product<const N: usize>(u: &Field<f64, N>, v: &Field<f64, N>) -> ExactSum {
    let mut sum = ExactSum::new();
    for (u, v) in u.blocks().iter().zip(v.blocks()) {
        let rows = u.rows(&u.interior()).zip(v.rows(&v.interior()));
        sum.add_products(rows.map(|(a, b)| (&u.data()[a], &v.data()[b])));
    }
    sum
}
