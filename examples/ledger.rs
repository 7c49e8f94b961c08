//! A ledger: accounts shared out over the ranks, and a stream of transfers between any two of them, in whole cents.
//!
//! A step clears one batch of the stream, as a clearing house does. The rank of the paying account decides, in the order of
//! the stream, whether there is cover; what is paid is sent to the rank of the receiving account, where it can be spent
//! from the next batch on. So the order in which messages come never matters. A checkpoint holds the balances after a whole number
//! of batches: whatever happens, no transfer is lost, and none is booked twice.
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    /// What is in each account at first, cents.
    opening: i64,
    /// The largest transfer, cents.
    largest: i64,
    /// Transfers in a batch.
    batch: i64,
    /// Which stream: any number.
    seed: u64,
}

/// What all ranks know of the past.
#[derive(Serialize, Deserialize, Default)]
struct Books {
    /// Transfers that were booked.
    booked: i64,
    /// Transfers that were refused for want of cover.
    refused: i64,
    /// What was moved in all, cents.
    moved: i64,
}

/// A transfer: its number in the stream, who pays, who is paid, and how many cents.
type Transfer = [i64; 4];

impl Ledger {
    /// A transfer of the stream. Here it is drawn; it might as well be read.
    fn transfer(&self, number: i64, accounts: i64) -> Transfer {
        let draw = |what: i64, below: i64| (random::uniform(self.seed, Cell([number, what])) * below as f64) as i64;
        let from = draw(0, accounts);
        let to = (from + 1 + draw(1, accounts - 1)) % accounts;
        [number, from, to, 1 + draw(2, self.largest)]
    }
}

impl Program<1> for Ledger {
    type State = i64;
    type Shared = Books;

    fn components() -> Vec<Component> {
        vec![Component::scalar("balance", "cent")]
    }

    fn check(&self) -> Result<()> {
        let keys =
            [("opening", self.opening, 1 << 40), ("largest", self.largest, 1 << 40), ("batch", self.batch, 1 << 27)];
        match keys.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            Some((key, value, most)) => {
                Err(Error::case(format!("model.{key} = {value} must be at least 1, at most {most}")))
            }
            None => Ok(()),
        }
    }

    fn prepare(&mut self, accounts: &Domain<i64, 1>, _directory: &Path) -> Result<()> {
        match accounts.grid().volume() as i64 {
            1 => Err(Error::case("grid.cells = [1]: a transfer needs two accounts")),
            many if many > i64::MAX / self.opening => Err(Error::case(format!(
                "{many} accounts with {} cents each are more cents than 64 bits can count",
                self.opening
            ))),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, accounts: &mut Domain<i64, 1>) -> Result<Books> {
        accounts.set_each(|_, _| self.opening);
        Ok(Books::default())
    }

    fn step(&mut self, accounts: &mut Domain<i64, 1>, books: &mut Books, step: &Step<'_>) -> Result<()> {
        let comm = accounts.comm().clone();
        let (rank, ranks) = (comm.rank() as i64, comm.size() as i64);
        let total = accounts.grid().volume() as i64;

        // Each rank takes in a share of the batch and hands every transfer to the rank of the account that pays.
        let mut orders: Vec<Vec<Transfer>> = vec![Vec::new(); comm.size()];
        let first = step.number as i64 * self.batch;
        for number in (first..first + self.batch).filter(|number| number % ranks == rank) {
            let transfer = self.transfer(number, total);
            orders[accounts.owner(Cell([transfer[1]]))].push(transfer);
        }
        step.show(Activity::Reduce);
        let mut due: Vec<Transfer> = comm.all_to_all(&orders)?.concat();
        due.sort_unstable();

        // What has cover is paid, in the order of the stream, and sent to the rank of the account that receives.
        let mut payments: Vec<Vec<Transfer>> = vec![Vec::new(); comm.size()];
        let mut sums = [0; 4]; // booked, refused, cents paid, cents received
        for transfer in due {
            let [_, from, to, cents] = transfer;
            let balance = accounts.get(Cell([from]));
            if balance >= cents {
                accounts.set(Cell([from]), balance - cents);
                payments[accounts.owner(Cell([to]))].push(transfer);
                (sums[0], sums[2]) = (sums[0] + 1, sums[2] + cents);
            } else {
                sums[1] += 1;
            }
        }
        for [_, _, to, cents] in comm.all_to_all(&payments)?.concat() {
            accounts.set(Cell([to]), accounts.get(Cell([to])) + cents);
            sums[3] += cents;
        }

        comm.sum_i64(&mut sums)?;
        let [booked, refused, paid, received] = sums;
        if paid != received || booked + refused != self.batch {
            let what =
                format!("{booked} + {refused} of {} transfers, {paid} cents paid, {received} received", self.batch);
            return Err(Error::new(Kind::State, what).hint("memory or the network may be failing"));
        }
        books.booked += booked;
        books.refused += refused;
        books.moved = books
            .moved
            .checked_add(paid)
            .ok_or_else(|| Error::new(Kind::State, "the sum of all transfers overflows"))?;
        Ok(())
    }
}

fn main() -> ExitCode {
    steadfast::main_program::<Ledger, 1>()
}
