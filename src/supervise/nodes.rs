//! Which nodes the ranks are placed on, when some of them had better not be used.
//!
//! Without a list of nodes the launcher knows where ranks go, and there is nothing to choose.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::{Error, Result};
use crate::sys::process::is_same_host;

/// A node, and how many ranks it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name by which the launcher reaches it.
    pub name: String,
    /// How many ranks it takes.
    pub slots: usize,
}

/// The nodes that may be used, in the order in which they are filled; those that are not needed are spare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(Vec<Node>);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.slots)
    }
}

/// How many ranks are launched, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// How many ranks.
    pub ranks: usize,
    /// The nodes that are used, each with its ranks; empty where the launcher knows.
    pub nodes: Vec<Node>,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rank{}", self.ranks, if self.ranks == 1 { "" } else { "s" })?;
        if self.nodes.is_empty() { Ok(()) } else { write!(f, " on {}", self.list()) }
    }
}

impl Placement {
    /// The nodes as launchers want them: `node1:2,node2:2`.
    pub fn list(&self) -> String {
        self.nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(",")
    }

    /// The names of the nodes.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The node of each rank, a line each.
    pub(super) fn host_of_each_rank(&self) -> String {
        self.nodes.iter().flat_map(|node| std::iter::repeat_n(format!("{}\n", node.name), node.slots)).collect()
    }
}

impl Nodes {
    /// Reads a list as `node1:2,node2:2`; without a number a node takes one rank.
    ///
    /// # Errors
    /// A bad command that names the entry and the rule.
    pub fn parse(text: &str) -> Result<Nodes> {
        let mut nodes: Vec<Node> = Vec::new();
        for entry in text.split(',') {
            let wrong = |rule: &str| {
                Error::case(format!("the node \"{entry}\" of \"{text}\" {rule}")).hint("as in --hosts node1:2,node2:2")
            };
            let (name, slots) = entry.split_once(':').unwrap_or((entry, "1"));
            let slots = slots.parse().ok().filter(|&slots| slots > 0);
            let slots = slots.ok_or_else(|| wrong("must say how many ranks it takes, at least 1"))?;
            if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
                return Err(wrong("has no name that a node can have"));
            }
            if nodes.iter().any(|node| node.name == name) {
                return Err(wrong("is there twice"));
            }
            nodes.push(Node { name: name.into(), slots });
        }
        Ok(Nodes(nodes))
    }

    /// Places ranks on nodes: as many as are wanted, or as the nodes left take, but at least `fewest`.
    ///
    /// Nodes are taken in order; those that are to be avoided only if there would be too few ranks otherwise.
    ///
    /// # Errors
    /// The sentence that says how many ranks the nodes take.
    pub fn place(&self, wanted: usize, fewest: usize, avoid: &BTreeSet<String>) -> Result<Placement, String> {
        if self.0.is_empty() {
            return Ok(Placement { ranks: wanted, nodes: Vec::new() });
        }
        let is_suspect = |node: &Node| avoid.iter().any(|name| is_same_host(name, &node.name));
        let (suspect, good): (Vec<&Node>, Vec<&Node>) = self.0.iter().partition(|node| is_suspect(node));
        let (mut nodes, mut ranks) = (Vec::new(), 0);
        for node in good.into_iter().chain(suspect) {
            let slots = node.slots.min(wanted - ranks);
            if slots > 0 && (ranks < fewest || !is_suspect(node)) {
                ranks += slots;
                nodes.push(Node { slots, ..node.clone() });
            }
        }
        if ranks >= fewest {
            return Ok(Placement { ranks, nodes });
        }
        Err(format!("the nodes take {ranks} ranks, and {fewest} are needed"))
    }

    /// These nodes, each of which takes some ranks.
    pub fn new(nodes: Vec<Node>) -> Nodes {
        Nodes(nodes)
    }

    /// The nodes for whose names this holds.
    pub fn filtered(&self, holds: impl Fn(&str) -> bool) -> Nodes {
        Nodes(self.0.iter().filter(|node| holds(&node.name)).cloned().collect())
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|node| node.name.clone()).collect()
    }

    /// How many ranks all nodes take together.
    pub fn slots(&self) -> usize {
        self.0.iter().map(|node| node.slots).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    fn placed(nodes: &str, wanted: usize, fewest: usize, avoid: &BTreeSet<String>) -> String {
        match Nodes::parse(nodes).unwrap().place(wanted, fewest, avoid) {
            Ok(placement) => placement.list(),
            Err(why) => why,
        }
    }

    #[test]
    fn ranks_fill_the_nodes_in_order_and_the_rest_are_spare() {
        let place = |avoid: &_, fewest| placed("a:2,b:2,c:2", 4, fewest, avoid);
        assert_eq!(place(&names([]), 4), "a:2,b:2");
        assert_eq!(place(&names(["a"]), 4), "b:2,c:2");
        assert_eq!(place(&names(["a", "b"]), 4), "c:2,a:2", "a bad node is better than none");
        assert_eq!(place(&names(["a", "b"]), 2), "c:2", "but fewer ranks are better, where they are allowed");
        assert_eq!(placed("a:3,b", 4, 4, &names([])), "a:3,b:1");
        assert_eq!(placed("a:3,b", 2, 2, &names([])), "a:2");
        assert_eq!(placed("a:3,b", 5, 5, &names([])), "the nodes take 4 ranks, and 5 are needed");
    }

    #[test]
    fn a_node_is_the_same_with_and_without_its_domain() {
        let place = |nodes: &str, avoid: &str| placed(nodes, 2, 2, &names([avoid]));
        assert_eq!(place("n1:2,n2:2", "n1.cluster.example"), "n2:2");
        assert_eq!(place("n1.cluster.example:2,n2:2", "N1"), "n2:2");
        assert_eq!(place("10.0.0.1:2,10.0.0.2:2", "10.0.0.2"), "10.0.0.1:2", "an address has no domain");
        assert_eq!(place("n1:2,n10:2", "n10"), "n1:2");
    }

    #[test]
    fn without_a_list_the_launcher_knows() {
        let placement = Nodes::default().place(7, 7, &names(["x"])).unwrap();
        assert_eq!(placement, Placement { ranks: 7, nodes: Vec::new() });
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_with_its_entry() {
        for (text, part) in [
            ("a:0", "\"a:0\""),
            ("a:two", "must say how many ranks"),
            (":2", "has no name"),
            ("a,b,a", "is there twice"),
            ("a,--x", "has no name"),
        ] {
            let error = Nodes::parse(text).unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_placement_takes_no_more_than_there_is_and_bad_nodes_only_in_need(
            slots in proptest::collection::vec(1usize..5, 1..6),
            avoid in proptest::collection::vec(any::<bool>(), 6),
            wanted in 1usize..20,
            fewest in 1usize..20,
        ) {
            let name = |i: usize| format!("n{i}");
            let nodes = Nodes(slots.iter().enumerate().map(|(i, &slots)| Node { name: name(i), slots }).collect());
            let avoid: BTreeSet<String> = (0..slots.len()).filter(|&i| avoid[i]).map(name).collect();
            let fewest = fewest.min(wanted);
            let good: usize = (0..slots.len()).filter(|&i| !avoid.contains(&name(i))).map(|i| slots[i]).sum();
            match nodes.place(wanted, fewest, &avoid) {
                Ok(placement) => {
                    prop_assert!(placement.ranks >= fewest && placement.ranks <= wanted);
                    prop_assert_eq!(placement.nodes.iter().map(|node| node.slots).sum::<usize>(), placement.ranks);
                    for node in &placement.nodes {
                        prop_assert!(good < fewest || !avoid.contains(&node.name));
                        let whole = nodes.0.iter().find(|other| other.name == node.name).unwrap().slots;
                        prop_assert!((1..=whole).contains(&node.slots));
                    }
                }
                Err(_) => prop_assert!(nodes.slots() < fewest),
            }
        }
    }
}
