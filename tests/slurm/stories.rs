//! The table of stories: what happens to a job, and what is promised of it.

use super::cluster::Cluster;
use super::draw::Draw;
use super::mode::Mode::{self, Network, Plain};
use super::times::Times;
use super::{ends, fenced, finished, interrupted, nodes, ranks, templates, warned};

/// Something that happens to a job on a cluster.
pub struct Story {
    pub name: &'static str,
    pub promise: &'static str,
    /// In which mode it can be told: some need nodes that differ, and can be lost.
    pub needs: Mode,
    /// Whether it is too long for every run of the tests.
    pub is_long: bool,
    pub play: fn(&Cluster, &Draw) -> Times,
}

const fn story(name: &'static str, needs: Mode, play: fn(&Cluster, &Draw) -> Times, promise: &'static str) -> Story {
    Story { name, promise, needs, is_long: false, play }
}

const fn long(name: &'static str, needs: Mode, play: fn(&Cluster, &Draw) -> Times, promise: &'static str) -> Story {
    Story { is_long: true, ..story(name, needs, play, promise) }
}

/// Long ones first: several are told at a time.
pub const STORIES: [Story; 29] = [
    story(
        "frozen-host",
        Network,
        fenced::batch_host_frozen,
        "the node of the supervisor stands still: the next life takes over, and it is not heard when it wakes",
    ),
    story(
        "three-lives",
        Plain,
        warned::three_lives,
        "a job that is warned before its end saves, is requeued and goes on, again and again",
    ),
    long("in-vain", Plain, warned::lives_in_vain, "a job that gets nowhere, life after life, is not requeued for ever"),
    long("time-limit", Plain, warned::time_limit, "a job whose time is nearly over saves, is requeued and goes on"),
    long(
        "time-warning",
        Plain,
        warned::time_warning,
        "so does one that Slurm warns, as it was told to when it was submitted",
    ),
    story(
        "lost-sentry",
        Network,
        nodes::nobody_left,
        "if the sentry dies as well, status and submit tell that nobody minds the job, and how to revive it",
    ),
    story("cut", Network, fenced::cable_cut, "a node whose cable is cut is given up, and not heard when it is back"),
    story("frozen", Network, fenced::node_frozen, "a node that stands still is given up, and not heard when it wakes"),
    story(
        "cut-spare",
        Network,
        fenced::cable_cut_with_spare,
        "with a spare node the run goes on in its allocation, and a node that was cut off is not heard when it is back",
    ),
    story("frozen-spare", Network, fenced::node_frozen_with_spare, "nor is one that stood still"),
    story("lost", Network, nodes::lost, "a job that loses a node and has no spare is requeued, and finishes on others"),
    story("lost-host", Network, nodes::batch_host_lost, "so is one that loses the node of the supervisor"),
    story(
        "lost-host-spare",
        Network,
        nodes::batch_host_lost_with_spare,
        "with spare nodes Slurm keeps the job though nobody is left in it: the sentry has it requeued",
    ),
    story(
        "lost-unnoticed",
        Network,
        nodes::spare_unnoticed,
        "a node dies, and its spare takes its place before Slurm has noticed",
    ),
    story("lost-noticed", Network, nodes::spare_noticed, "a node dies and Slurm says so: its spare takes its place"),
    story(
        "lost-two",
        Network,
        nodes::fewer_ranks,
        "two nodes die and one was spare: the run goes on with fewer ranks, if the case allows it",
    ),
    story("rank-killed", Network, ranks::killed, "a rank that dies is named, and relaunched in the same allocation"),
    story("rank-stopped", Network, ranks::stopped, "a rank that hangs is named, and relaunched in the same allocation"),
    story("templates", Plain, templates::finish, "the templates finish, with nothing changed but sizes and names"),
    story(
        "chain",
        Network,
        templates::chain,
        "where no job is requeued, a chain of jobs goes on after the death of a node",
    ),
    story(
        "submitted-mpirun",
        Plain,
        finished::through_mpirun,
        "a job finishes through mpirun with the bits of a local run",
    ),
    story("submitted-srun", Plain, finished::through_srun, "and through srun"),
    story("twice", Plain, ends::second_job, "a second job on a run directory is refused, and the first goes on"),
    story("cancelled", Plain, ends::cancelled, "a job that is cancelled is not requeued, and what it saved is good"),
    story("bad-case", Plain, ends::bad_case, "a bad case is not requeued"),
    story("no-progress", Plain, ends::no_progress, "a job without progress stops being requeued, and says why"),
    story("stopped-early", Plain, ends::stopped_in_the_queue, "a job that is stopped while it waits is cancelled"),
    story("stopped", Plain, ends::stopped, "a run that a person stops has saved, and is not requeued"),
    story(
        "interrupted",
        Plain,
        interrupted::nothing_is_left,
        "a cluster is gone with the test that started it, however that ends",
    ),
];
