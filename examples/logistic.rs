//! Softmax regression: a linear classifier learns from rows that are shared out over the ranks.
//!
//! Each step goes down the gradient of the mean cross-entropy over all rows to learn from, with momentum (Polyak 1964,
//! doi:10.1016/0041-5553(64)90137-5). Every entry of the gradient is an exact scalar product over all ranks: so the weights
//! have the same bits on any number of them. Every fifth row is held out, to see what was learnt.
use ndarray::Array2;
use steadfast::comm::ExactSum;
use steadfast::prelude::*;

const HELD_OUT: i64 = 5; // every fifth row is not learnt from

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logistic {
    /// The HDF5 file, relative to the case file.
    file: String,
    /// The dataset with a row of numbers for each example.
    features: String,
    /// The dataset with the class of each example, from 0.
    labels: String,
    classes: usize,
    /// What the features are multiplied with, so that they are of order one.
    scale: f64,
    /// The rate of learning.
    rate: f64,
    /// The part of its velocity that a weight keeps from step to step.
    momentum: f64,
    /// The weight of the squared weights in the loss: it keeps them small.
    decay: f64,
    #[serde(skip)]
    data: Examples,
}

/// The examples of this rank: a row for each feature, the last of them 1, and a column for each example.
#[derive(Default)]
struct Examples {
    features: Array2<f64>,
    labels: Vec<usize>,
    learnt: Vec<bool>,
}

/// What all ranks know.
#[derive(Serialize, Deserialize)]
struct Learnt {
    /// For each class a weight of each feature, the last one of the constant.
    weights: Vec<Vec<f64>>,
    velocity: Vec<Vec<f64>>,
    /// The mean cross-entropy over the rows that are learnt from, before the last step.
    loss: f64,
    /// The parts of the rows that the weights before the last step put in the right class: learnt from, and held out.
    accuracy: [f64; 2],
}

impl Program<1> for Logistic {
    type State = i32;
    type Shared = Learnt;

    fn components() -> Vec<Component> {
        vec![Component::scalar("class", "1")]
    }

    fn check(&self) -> Result<()> {
        match (self.classes, self.momentum) {
            (2..=1000, 0.0..1.0) => Ok(()),
            (2..=1000, momentum) => {
                Err(Error::case(format!("model.momentum = {momentum} must be from 0 to less than 1")))
            }
            (classes, _) => Err(Error::case(format!("model.classes = {classes} must be from 2 to 1000"))),
        }
    }

    fn prepare(&mut self, data: &Domain<i32, 1>, directory: &Path) -> Result<()> {
        let read = |dataset: &String| data.read_rows(&directory.join(&self.file), dataset);
        let (rows, labels) = (read(&self.features)?, read(&self.labels)?);
        let features = Array2::from_shape_fn((rows.ncols() + 1, rows.nrows()), |(j, i)| {
            if j < rows.ncols() { self.scale * rows[[i, j]] } else { 1.0 }
        });
        let is_class = |label: f64| label.fract() == 0.0 && (0.0..self.classes as f64).contains(&label);
        if let Some(label) = labels.iter().find(|&&label| labels.ncols() != 1 || !is_class(label)) {
            let rule = format!("with {} classes, each row needs one label from 0 on", self.classes);
            return Err(Error::case(format!("{rule}; model.labels = {:?} has {label}", self.labels)));
        }
        let labels: Vec<usize> = labels.iter().map(|&label| label as usize).collect();
        let learnt = data.own_cells().map(|cell| cell % HELD_OUT != 0).collect();
        self.data = Examples { features, labels, learnt };
        Ok(())
    }

    fn begin(&mut self, data: &mut Domain<i32, 1>) -> Result<Learnt> {
        data.set_each(|_, _| -1);
        let zero = vec![vec![0.0; self.data.features.nrows()]; self.classes];
        Ok(Learnt { velocity: zero.clone(), weights: zero, loss: f64::MAX, accuracy: [0.0; 2] })
    }

    fn step(&mut self, data: &mut Domain<i32, 1>, shared: &mut Learnt, step: &Step<'_>) -> Result<()> {
        let Examples { features, labels, learnt } = &self.data;
        // errors[class][example]: the probability that is given to a class, less 1 for the right one; 0 if held out.
        let mut errors = vec![vec![0.0; labels.len()]; self.classes];
        let mut classes = Vec::with_capacity(labels.len());
        let mut loss = ExactSum::new();
        let mut counts = [0; 4]; // rows learnt from, held out; those in the right class of both
        for (i, (&label, &learnt)) in labels.iter().zip(learnt).enumerate() {
            let score = |weights: &Vec<f64>| features.column(i).iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
            let scores: Vec<f64> = shared.weights.iter().map(score).collect();
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
            let class = scores.iter().position(|&score| score == highest).unwrap_or(0);
            classes.push(class as i32);
            counts[usize::from(!learnt)] += 1;
            counts[2 + usize::from(!learnt)] += i64::from(class == label);
            if learnt {
                loss.add(highest + total.ln() - scores[label]);
                for (c, score) in scores.iter().enumerate() {
                    errors[c][i] = (score - highest).exp() / total - if c == label { 1.0 } else { 0.0 };
                }
            }
        }
        data.set_own(classes);

        let mut sums = vec![loss];
        for errors in &errors {
            for feature in features.rows() {
                let mut sum = ExactSum::new();
                sum.add_products([(feature.to_slice().expect("rows are contiguous"), &errors[..])]);
                sums.push(sum);
            }
        }
        step.show(Activity::Reduce);
        data.comm().sum_i64(&mut counts)?;
        ExactSum::reduce_all(&mut sums, data.comm())?;
        let mut means = sums.iter().map(|sum| sum.value() / counts[0] as f64);
        shared.loss = means.next().expect("the loss comes first");
        if !shared.loss.is_finite() {
            return Err(
                Error::new(Kind::State, format!("the loss is {}", shared.loss)).hint("a smaller model.rate may help")
            );
        }
        shared.accuracy = [0, 1].map(|part| counts[2 + part] as f64 / counts[part] as f64);
        let all = shared.weights.iter_mut().flatten().zip(shared.velocity.iter_mut().flatten());
        for ((weight, velocity), slope) in all.zip(means) {
            *velocity = self.momentum * *velocity - self.rate * (slope + self.decay * *weight);
            *weight += *velocity;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    steadfast::main_program::<Logistic, 1>()
}
