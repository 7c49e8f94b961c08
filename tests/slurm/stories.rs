//! The table of stories: what happens to a job, and what is promised of it.

use super::cluster::Cluster;
use super::draw::Draw;
use super::mode::Mode;
use super::times::Times;
use super::{fenced, finished, interrupted, nodes, ranks};

/// Something that happens to a job on a cluster.
pub struct Story {
    pub name: &'static str,
    pub promise: &'static str,
    /// In which mode it can be told: some need nodes that differ, and can be lost.
    pub needs: Mode,
    pub play: fn(&Cluster, &Draw) -> Vec<Row>,
}

/// One line of the report: a variant of a story, and how long things took.
pub struct Row {
    pub what: String,
    pub times: Times,
}

pub fn row(what: impl Into<String>, times: Times) -> Row {
    Row { what: what.into(), times }
}

pub const STORIES: [Story; 5] = [
    Story {
        name: "interrupted",
        promise: "a cluster is gone with the test that started it, however that ends",
        needs: Mode::Plain,
        play: interrupted::nothing_is_left,
    },
    Story {
        name: "submitted",
        promise: "a job is submitted and finishes with the bits of a local run",
        needs: Mode::Plain,
        play: finished::submitted,
    },
    Story {
        name: "rank",
        promise: "a rank that dies or hangs is named, and relaunched in the same allocation",
        needs: Mode::Network,
        play: ranks::killed_and_stopped,
    },
    Story {
        name: "lost",
        promise: "a job that loses a node and has no spare is requeued, and finishes on others",
        needs: Mode::Network,
        play: nodes::lost,
    },
    Story {
        name: "fenced",
        promise: "nodes out of reach are given up, and what they write when they are back is never committed",
        needs: Mode::Network,
        play: fenced::late_writers,
    },
];
