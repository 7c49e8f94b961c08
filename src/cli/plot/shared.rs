//! A table of what all ranks hold alike, such as the centres of clusters or the weights of a classifier, as a map.

use ndarray::{Array2, s};

use super::colours::Spread;
use super::picture::Side;
use crate::checkpoint::Header;
use crate::error::{Error, Result};

/// The table under a key, with a row of the table as a row of the map; or, `across` numbers wide, each row as a picture of
/// its own, side by side, its first number at the upper left.
///
/// # Errors
/// If there is no such key, it is no table of numbers, or its rows cannot be cut so.
pub fn table(header: &Header, key: &str, across: Option<usize>) -> Result<Array2<f64>> {
    let shared = header.replicated.get(Header::SHARED);
    let value = shared.and_then(|shared| shared.get(key)).ok_or_else(|| {
        let keys = shared.and_then(|shared| shared.as_object());
        let keys: Vec<&str> = keys.into_iter().flat_map(|keys| keys.keys().map(String::as_str)).collect();
        let there =
            if keys.is_empty() { "there is nothing".to_owned() } else { format!("there are {}", keys.join(", ")) };
        Error::case(format!("the ranks hold no {key:?} alike")).hint(there)
    })?;
    let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone())
        .map_err(|_| Error::case(format!("{key:?} is no table of numbers: a list of lists")))?;
    let width = rows.first().map_or(0, Vec::len);
    if width == 0 || rows.iter().any(|row| row.len() != width) {
        return Err(Error::case(format!("the rows of {key:?} are empty, or differ in length")));
    }
    let table = Array2::from_shape_vec((rows.len(), width), rows.concat()).expect("the rows are of one length");
    match across {
        None => Ok(table.slice_move(s![..;-1, ..])),
        Some(across) => mosaic(&table, across),
    }
}

/// Each row as a picture, `across` numbers wide; what is left of a row beyond whole lines is left out.
fn mosaic(table: &Array2<f64>, across: usize) -> Result<Array2<f64>> {
    let (pictures, high) = (table.nrows(), table.ncols() / across.max(1));
    if across == 0 || high == 0 {
        let width = table.ncols();
        return Err(Error::case(format!("rows of {width} numbers cannot be pictures {across} numbers wide")));
    }
    let columns = (pictures as f64 * high as f64 / across as f64 * 2.0).sqrt().ceil() as usize;
    let lines = pictures.div_ceil(columns);
    // Between pictures, and where there is none, stands the smallest number.
    let least = table.iter().copied().fold(f64::INFINITY, f64::min);
    let mut map = Array2::from_elem((lines * (high + 1) - 1, columns * (across + 1) - 1), least);
    for (number, row) in table.outer_iter().enumerate() {
        let (top, left) = (number / columns * (high + 1), number % columns * (across + 1));
        for (at, &value) in row.iter().enumerate().take(high * across) {
            map[[top + at / across, left + at % across]] = value;
        }
    }
    Ok(map.slice_move(s![..;-1, ..]))
}

/// An axis that counts numbers of the table.
pub fn side(count: usize) -> Side {
    Side { label: String::new(), lower: 0.0, upper: count as f64, spread: Spread::Linear }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_pictures_side_by_side_with_their_first_number_at_the_upper_left() {
        let table = Array2::from_shape_fn((2, 7), |(row, at)| (10 * row + at) as f64);
        let map = mosaic(&table, 2).unwrap();
        assert_eq!(map.dim(), (3, 8), "three columns of two, of which the last is empty; the odd number is left out");
        assert_eq!(map.row(2).to_vec(), [0.0, 1.0, 0.0, 10.0, 11.0, 0.0, 0.0, 0.0]);
        assert_eq!(map.row(0).to_vec(), [4.0, 5.0, 0.0, 14.0, 15.0, 0.0, 0.0, 0.0]);
        assert!(mosaic(&table, 8).is_err() && mosaic(&table, 0).is_err());
    }
}
