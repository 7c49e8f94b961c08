//! Which task is in which state, and which is next.

/// Where a task is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has it.
    Waiting,
    /// A rank has it.
    Running,
    /// Its outcome is known.
    Done,
}

/// All tasks; every rank has the same queue, since all make the same calls.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    states: Vec<State>,
    costs: Vec<f64>,
    /// By priority, then cost, then number; the next one is the last.
    order: Vec<usize>,
}

impl Queue {
    /// A queue of tasks with these priorities and estimated costs, of which some are done already.
    pub fn new(priorities: &[i32], costs: Vec<f64>, done: &[bool]) -> Self {
        let mut order: Vec<usize> = (0..costs.len()).filter(|&task| !done[task]).collect();
        order.sort_by(|&a, &b| priorities[a].cmp(&priorities[b]).then(costs[a].total_cmp(&costs[b])).then(b.cmp(&a)));
        let states = done.iter().map(|&done| if done { State::Done } else { State::Waiting }).collect();
        Queue { states, costs, order }
    }

    /// Gives out the next task, if there is one.
    pub fn take(&mut self) -> Option<usize> {
        let task = self.order.pop()?;
        self.states[task] = State::Running;
        Some(task)
    }

    /// The outcome of a task is known.
    pub fn finish(&mut self, task: usize) {
        self.states[task] = State::Done;
    }

    /// How many tasks are done.
    pub fn done(&self) -> usize {
        self.states.iter().filter(|&&state| state == State::Done).count()
    }

    /// Whether all tasks are done.
    pub fn is_over(&self) -> bool {
        self.done() == self.states.len()
    }

    /// The part of the estimated work that is done, from 0 to 1.
    pub fn part_done(&self) -> f64 {
        let all: f64 = self.costs.iter().sum();
        let done = self.states.iter().zip(&self.costs).filter(|(state, _)| **state == State::Done);
        if all > 0.0 { done.map(|(_, cost)| cost).sum::<f64>() / all } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue) -> Vec<usize> {
        std::iter::from_fn(|| queue.take()).collect()
    }

    #[test]
    fn the_urgent_come_first_then_the_longest_then_the_order_of_the_list() {
        let mut queue = Queue::new(&[0, 0, 1, 0, 1], vec![1.0, 5.0, 1.0, 5.0, 2.0], &[false; 5]);
        assert_eq!(drain(&mut queue), [4, 2, 1, 3, 0]);
    }

    #[test]
    fn what_was_done_before_is_not_given_out_again() {
        let mut queue = Queue::new(&[0; 4], vec![1.0; 4], &[false, true, false, true]);
        assert_eq!((queue.done(), queue.part_done()), (2, 0.5));
        assert_eq!(drain(&mut queue), [0, 2]);
        assert!(!queue.is_over(), "given out is not done");
        queue.finish(0);
        queue.finish(2);
        assert!(queue.is_over());
    }
}
