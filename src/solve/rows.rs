//! What an iteration does to the patches of vectors, row by row.

use crate::comm::ExactSum;
use crate::field::Patch;
use crate::grid::Region;

/// Changes each cell of a part of `to` as the rule says, which also gets the same cell of `from`.
pub(super) fn update<const N: usize>(
    to: &mut Patch<f64, N>,
    from: &Patch<f64, N>,
    part: &Region<N>,
    rule: impl Fn(&mut f64, f64),
) {
    let rows = to.rows(part).zip(from.rows(part));
    let (to, from) = (to.data_mut(), from.data());
    for (row, source) in rows {
        to[row].iter_mut().zip(&from[source]).for_each(|(to, &from)| rule(to, from));
    }
}

/// Adds the scalar product of a part of two patches of one number a cell.
pub(super) fn add_product<const N: usize>(sum: &mut ExactSum, u: &Patch<f64, N>, v: &Patch<f64, N>, part: &Region<N>) {
    let rows = u.rows(part).zip(v.rows(part));
    sum.add_products(rows.map(|(a, b)| (&u.data()[a], &v.data()[b])));
}
