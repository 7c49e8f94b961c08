//! k-means: rows of numbers, shared out over the ranks, fall into clusters round their means.
//!
//! The first centres are rows, drawn one after the other with a chance that grows with the square of the distance to the
//! nearest one drawn before (Arthur & Vassilvitskii 2007, k-means++). Then each step gives every row to its nearest centre
//! and moves the centres to the means of their rows (Lloyd 1982, <https://doi.org/10.1109/TIT.1982.1056489>), until no row
//! changes. Sums are exact, so that clusters and centres have the same bits on any number of ranks.
use ndarray::{Array2, ArrayView1};
use steadfast::comm::{Communicator, ExactSum};
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KMeans {
    /// The HDF5 file with the rows, relative to the case file.
    file: String,
    dataset: String,
    clusters: usize,
    /// Which draw of the first centres: any number.
    seed: u64,
    /// The rows of this rank.
    #[serde(skip)]
    rows: Array2<f64>,
}

/// What all ranks know.
#[derive(Serialize, Deserialize)]
struct Clusters {
    centres: Vec<Vec<f64>>,
    /// The sum over all rows of the squared distance to their centre.
    inertia: f64,
    /// How many rows the last step gave to another centre; none when all is done.
    changed: i64,
}

/// The weight of the farthest row in a draw.
const WHOLE: f64 = 4294967296.0;

/// The nearest centre and the squared distance to it; the first of several.
fn nearest(row: ArrayView1<f64>, centres: &[Vec<f64>]) -> (usize, f64) {
    let distance = |centre: &Vec<f64>| row.iter().zip(centre).map(|(x, c)| (x - c) * (x - c)).sum::<f64>();
    let distances = centres.iter().map(distance).enumerate();
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).expect("there is at least one cluster")
}

/// The row at a place in the sum of all weights, rank after rank; weights are whole numbers.
fn draw(rows: &Array2<f64>, weights: &[i64], chance: f64, comm: &Communicator) -> Result<Vec<f64>> {
    let mut sums = vec![0; comm.size()];
    sums[comm.rank()] = weights.iter().sum();
    comm.sum_i64(&mut sums)?;
    let place = (chance * sums.iter().sum::<i64>() as f64) as i64;
    let mut before: i64 = sums[..comm.rank()].iter().sum();
    let mut drawn = vec![ExactSum::new(); rows.ncols()];
    for (row, weight) in rows.outer_iter().zip(weights) {
        if (before..before + weight).contains(&place) {
            drawn.iter_mut().zip(row).for_each(|(sum, &x)| sum.add(x));
        }
        before += weight;
    }
    ExactSum::reduce_all(&mut drawn, comm)?;
    Ok(drawn.iter().map(ExactSum::value).collect())
}

impl Program<1> for KMeans {
    type State = i32;
    type Shared = Clusters;

    fn components() -> Vec<Component> {
        vec![Component::scalar("cluster", "1")]
    }

    fn prepare(&mut self, data: &Domain<i32, 1>, directory: &Path) -> Result<()> {
        let most = data.grid().volume();
        if !(1..=most).contains(&self.clusters) {
            return Err(Error::case(format!("model.clusters = {} must be from 1 to {most}, the rows", self.clusters)));
        }
        self.rows = data.read_rows(&directory.join(&self.file), &self.dataset)?;
        Ok(())
    }

    fn begin(&mut self, data: &mut Domain<i32, 1>) -> Result<Clusters> {
        data.set_each(|_, _| -1);
        let mut centres: Vec<Vec<f64>> = Vec::new();
        // The squared distance of each row to the nearest centre so far; at first all rows are as good.
        let mut distances = vec![f64::INFINITY; self.rows.nrows()];
        for i in 0..self.clusters {
            for (row, distance) in self.rows.outer_iter().zip(&mut distances).take(if i == 0 { 0 } else { usize::MAX })
            {
                *distance = distance.min(nearest(row, &centres[i - 1..]).1);
            }
            let mut farthest = [distances.iter().copied().fold(0.0, f64::max)];
            data.comm().max_f64(&mut farthest)?;
            if farthest[0] == 0.0 {
                let what = format!("model.clusters = {}, but there are only {i} different rows", self.clusters);
                return Err(Error::case(what));
            }
            // As parts of the farthest, so that whole numbers hold them and their sum, whatever the unit.
            let part = |distance: &f64| if i == 0 { 1 } else { (distance / farthest[0] * WHOLE).ceil() as i64 };
            let weights: Vec<i64> = distances.iter().map(part).collect();
            centres.push(draw(&self.rows, &weights, random::uniform(self.seed, Cell([i as i64])), data.comm())?);
        }
        Ok(Clusters { centres, inertia: f64::MAX, changed: i64::MAX })
    }

    fn step(&mut self, data: &mut Domain<i32, 1>, shared: &mut Clusters, step: &Step<'_>) -> Result<()> {
        let columns = self.rows.ncols();
        let mut sums = vec![ExactSum::new(); self.clusters * columns + 1];
        let mut counts = vec![0; self.clusters + 1]; // of rows in each cluster, and of those that changed
        for (cell, row) in data.own_cells().zip(self.rows.outer_iter()) {
            let (cluster, distance) = nearest(row, &shared.centres);
            counts[self.clusters] += i64::from(data.get(Cell([cell])) != cluster as i32);
            data.set(Cell([cell]), cluster as i32);
            counts[cluster] += 1;
            sums[cluster * columns..].iter_mut().zip(row).for_each(|(sum, &x)| sum.add(x));
            sums[self.clusters * columns].add(distance);
        }
        step.show(Activity::Reduce);
        data.comm().sum_i64(&mut counts)?;
        ExactSum::reduce_all(&mut sums, data.comm())?;
        for (cluster, centre) in shared.centres.iter_mut().enumerate().filter(|(cluster, _)| counts[*cluster] > 0) {
            let sums = &sums[cluster * columns..];
            centre.iter_mut().zip(sums).for_each(|(x, sum)| *x = sum.value() / counts[cluster] as f64);
        }
        shared.inertia = sums[self.clusters * columns].value();
        shared.changed = counts[self.clusters];
        Ok(())
    }

    fn progress(&self, _data: &Domain<i32, 1>, shared: &Clusters) -> Progress {
        Progress { finished: shared.changed == 0, ..Progress::GOING_ON }
    }
}

fn main() -> ExitCode {
    steadfast::main_program::<KMeans, 1>()
}
