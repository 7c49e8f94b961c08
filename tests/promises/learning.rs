//! Work that is no stencil: what is learnt from handwritten digits, against plain loops and labels.

use steadfast::checkpoint::Reader;
use steadfast::grid::{Cell, random};
use steadfast::rundir::RunDirectory;

use super::stage::{Room, component, hash, shared};

const KMEANS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kmeans.toml");
const LOGISTIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/logistic.toml");
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.h5");

fn digits() -> (Vec<Vec<f64>>, Vec<usize>) {
    let file = hdf5::File::open(DIGITS).unwrap();
    let images = file.dataset("images").unwrap().read_raw::<f64>().unwrap();
    let labels = file.dataset("labels").unwrap().read_raw::<u8>().unwrap();
    (images.chunks(64).map(<[f64]>::to_vec).collect(), labels.into_iter().map(usize::from).collect())
}

/// Runs a case alone and on three ranks with other blocks, which must have the same result.
fn one_result(room: &Room, program: &str, case: &str) -> RunDirectory {
    room.alone(program).runs(case, "alone").ends_with(0);
    room.on(3, program).runs(case, "on-3").set(&["grid.block=100"]).ends_with(0);
    assert_eq!(hash(&room.run("on-3")), hash(&room.run("alone")), "{program}");
    room.run("on-3")
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The place of the nearest centre, and the squared distance to it.
fn nearest(row: &[f64], centres: &[Vec<f64>]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (i, centre) in centres.iter().enumerate() {
        if distance(row, centre) < best.1 {
            best = (i, distance(row, centre));
        }
    }
    best
}

/// k-means in the plainest form: the clusters of all rows, and the inertia.
fn plain_kmeans(rows: &[Vec<f64>], clusters: usize, seed: u64) -> (Vec<usize>, f64) {
    let mut centres: Vec<Vec<f64>> = Vec::new();
    for i in 0..clusters {
        let weights: Vec<f64> = rows.iter().map(|row| if i == 0 { 1.0 } else { nearest(row, &centres).1 }).collect();
        let mut place = (random::uniform(seed, Cell([i as i64])) * weights.iter().sum::<f64>()).floor();
        let drawn = weights.iter().position(|weight| {
            place -= weight;
            place < 0.0
        });
        centres.push(rows[drawn.unwrap()].clone());
    }
    let mut of_rows = vec![usize::MAX; rows.len()];
    loop {
        let found: Vec<(usize, f64)> = rows.iter().map(|row| nearest(row, &centres)).collect();
        let inertia = found.iter().map(|found| found.1).sum();
        let next: Vec<usize> = found.into_iter().map(|found| found.0).collect();
        if next == of_rows {
            return (of_rows, inertia);
        }
        of_rows = next;
        for (i, centre) in centres.iter_mut().enumerate() {
            let own: Vec<_> = rows.iter().zip(&of_rows).filter(|(_, of)| **of == i).map(|(row, _)| row).collect();
            for (j, x) in centre.iter_mut().enumerate() {
                *x = own.iter().map(|row| row[j]).sum::<f64>() / own.len() as f64;
            }
        }
    }
}

#[test]
fn kmeans_finds_the_clusters_of_a_plain_loop_and_they_are_digits() {
    let (rows, labels) = digits();
    let room = Room::new();
    let run = one_result(&room, "kmeans", KMEANS);
    let (expected, inertia) = plain_kmeans(&rows, 10, 6);
    let clusters: Vec<usize> = component(&run, "cluster").into_iter().map(|cluster| cluster as usize).collect();
    assert_eq!(clusters, expected);
    let found = shared(&run)["inertia"].as_f64().unwrap();
    assert!((found / inertia - 1.0).abs() < 1e-13, "an inertia of {found}, not {inertia}");
    // The best of 100 draws of scikit-learn 1.9.1: KMeans(10, n_init=100, tol=0) on the same rows.
    assert!(found < 1.0001 * 1_165_134.217_707_693, "an inertia of {found}");

    let mut counts = [[0; 10]; 10];
    clusters.iter().zip(labels).for_each(|(&cluster, label)| counts[cluster][label] += 1);
    let purity = counts.iter().map(|of| of.iter().max().unwrap()).sum::<i32>() as f64 / rows.len() as f64;
    assert!(purity > 0.78, "a part of {purity} lies in a cluster with its digit's majority");
}

#[test]
fn a_grid_that_has_not_a_cell_for_each_row_is_refused() {
    let room = Room::new();
    let ended = room.on(2, "kmeans").runs(KMEANS, "run").set(&["grid.cells=[1800]"]).ends_with(2);
    let error = ended.error();
    assert!(
        error.contains("grid.cells = [1800]") && error.contains("[1797, 64]") && error.contains("hint:"),
        "{error}"
    );
    let ended = room.alone("kmeans").runs(KMEANS, "run").set(&["model.dataset=pictures"]).ends_with(2);
    assert!(ended.error().contains("it has: images, labels"), "{}", ended.err);
}

#[test]
fn softmax_regression_reads_96_of_100_digits_that_it_has_not_seen() {
    let (_, labels) = digits();
    let room = Room::new();
    let run = one_result(&room, "logistic", LOGISTIC);
    let learnt = shared(&run);
    let accuracy = learnt["accuracy"][1].as_f64().unwrap();
    // scikit-learn 1.9.1 comes to 0.9639: LogisticRegression(C=1/(1e-4*1437)) on the same rows and the same held out.
    assert!(accuracy > 0.96, "{accuracy} of the digits held out are read");
    // The same, counted from the classes in the checkpoint.
    let classes = component(&run, "class");
    let held_out: Vec<bool> = (0..labels.len()).step_by(5).map(|i| classes[i] == labels[i] as f64).collect();
    let right = held_out.iter().filter(|right| **right).count() as f64 / held_out.len() as f64;
    assert_eq!(right, accuracy);
    assert!(learnt["loss"].as_f64().unwrap() < 0.1, "{}", learnt["loss"]);
    let newest = run.checkpoints().unwrap().remove(0);
    assert_eq!(Reader::open(newest.path).unwrap().header().step, 300);
}
