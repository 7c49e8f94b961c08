//! Which ranks share a node, and who keeps whose copy.

use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};

/// Names the node of a process in place of MPI, so that several nodes can be played on one machine.
const NODE_VARIABLE: &str = "STEADFAST_NODE";

/// The nodes of a run, in the order of their first ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    names: Vec<String>,
    of_rank: Vec<usize>,
    ranks: Vec<Vec<usize>>,
}

impl Nodes {
    /// The nodes of ranks whose nodes have these names.
    pub fn new(of_ranks: &[String]) -> Self {
        let mut nodes = Nodes { names: Vec::new(), of_rank: Vec::new(), ranks: Vec::new() };
        for (rank, name) in of_ranks.iter().enumerate() {
            let known = nodes.names.iter().position(|known| known == name);
            let node = known.unwrap_or_else(|| {
                nodes.names.push(name.clone());
                nodes.ranks.push(Vec::new());
                nodes.names.len() - 1
            });
            nodes.of_rank.push(node);
            nodes.ranks[node].push(rank);
        }
        nodes
    }

    /// The nodes of these ranks, as MPI names them, or as the environment variable STEADFAST_NODE of each rank does.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn of(communicator: &Communicator) -> Result<Self> {
        let name = communicator.node()?.name;
        let name = std::env::var(NODE_VARIABLE).ok().filter(|name| !name.is_empty()).unwrap_or(name);
        let names = communicator.all_gather_bytes(folder_name(&name).as_bytes())?;
        let names: Result<Vec<_>, _> = names.into_iter().map(String::from_utf8).collect();
        let names = names.map_err(|_| Error::new(Kind::Internal, "the name of a node is no text"))?;
        Ok(Nodes::new(&names))
    }

    /// The names, which can be those of folders.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The node of a rank.
    pub fn of_rank(&self, rank: usize) -> usize {
        self.of_rank[rank]
    }

    /// The name of a rank's node.
    pub fn name_of(&self, rank: usize) -> &str {
        &self.names[self.of_rank[rank]]
    }

    /// The ranks of a node, the lowest first.
    pub fn ranks(&self, node: usize) -> &[usize] {
        &self.ranks[node]
    }

    /// Whether a rank is the first of its node, and does what one does for the node.
    pub fn is_first(&self, rank: usize) -> bool {
        self.ranks[self.of_rank[rank]][0] == rank
    }

    /// The rank that keeps a copy of this one's blocks: one of the next node, round robin; none if there is no other node.
    pub fn partner(&self, rank: usize) -> Option<usize> {
        let node = self.of_rank[rank];
        let next = (node + 1) % self.names.len();
        let place = self.ranks[node].iter().position(|&other| other == rank).unwrap_or(0);
        (next != node).then(|| self.ranks[next][place % self.ranks[next].len()])
    }

    /// The ranks whose copies this one keeps.
    pub fn wards(&self, rank: usize) -> Vec<usize> {
        (0..self.of_rank.len()).filter(|&other| self.partner(other) == Some(rank)).collect()
    }
}

/// A node's name as that of a folder.
fn folder_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(of_ranks: &[&str]) -> Nodes {
        Nodes::new(&of_ranks.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn copies_go_to_the_next_node_and_the_last_nodes_to_the_first() {
        let nodes = nodes(&["a", "a", "b", "b", "c"]);
        let partners: Vec<_> = (0..5).map(|rank| nodes.partner(rank)).collect();
        assert_eq!(partners, [Some(2), Some(3), Some(4), Some(4), Some(0)]);
        assert_eq!((nodes.wards(4), nodes.wards(1)), (vec![2, 3], vec![]));
        assert_eq!((nodes.is_first(2), nodes.is_first(3), nodes.name_of(3)), (true, false, "b"));
    }

    #[test]
    fn on_one_node_there_is_no_partner() {
        let nodes = nodes(&["a"; 3]);
        assert!((0..3).all(|rank| nodes.partner(rank).is_none() && nodes.wards(rank).is_empty()));
    }

    #[test]
    fn names_become_folders_that_lead_nowhere_else() {
        assert_eq!(folder_name("../node-7.cluster_x/a"), "___node-7_cluster_x_a");
    }

    proptest! {
        #[test]
        fn every_rank_has_one_partner_on_another_node_however_the_ranks_are_spread(
            of_ranks in prop::collection::vec(0u8..5, 1..40)
        ) {
            let names: Vec<String> = of_ranks.iter().map(|node| format!("n{node}")).collect();
            let nodes = Nodes::new(&names);
            let mut kept = 0;
            for rank in 0..names.len() {
                prop_assert!(nodes.partner(rank).is_none_or(|partner| names[partner] != names[rank]));
                kept += nodes.wards(rank).len();
            }
            prop_assert_eq!(kept, if nodes.names().len() > 1 { names.len() } else { 0 });
        }
    }
}
