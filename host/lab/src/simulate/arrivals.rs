//! When messages arrive: rows of counts, and the moments that a seed makes of them.

use fastrand::Rng;

use super::random::mix;

/// So many messages arrive within a time. Times are nanoseconds since the first row's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivalRow {
    /// When the row begins.
    pub start: u64,
    /// How long it is; above 0.
    pub step: u64,
    /// Messages that arrive in `start..start + step`.
    pub count: u64,
}

impl ArrivalRow {
    /// When the next row may begin.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.step)
    }

    /// In how many parts its moments are made.
    fn parts(&self) -> u64 {
        self.count.div_ceil(AT_ONCE).clamp(1, self.step.max(1))
    }

    /// One of its parts, which all have as many messages, but for one.
    fn part(&self, index: u64) -> Self {
        let parts = self.parts();
        if parts == 1 {
            return *self;
        }
        let up_to = |all: u64, index: u64| {
            u64::try_from(u128::from(all) * u128::from(index) / u128::from(parts)).unwrap_or(u64::MAX)
        };
        let (from, to) = (up_to(self.step, index), up_to(self.step, index.saturating_add(1)));
        let (before, until) = (up_to(self.count, index), up_to(self.count, index.saturating_add(1)));
        Self {
            start: self.start.saturating_add(from),
            step: to.saturating_sub(from),
            count: until.saturating_sub(before),
        }
    }
}

/// The most messages whose moments are made at once. A row of more is divided evenly, which none of its numbers shows:
/// of so many messages chance would give each part as many, within a thousandth.
const AT_ONCE: u64 = 1 << 20;

/// Rows in the order of time that do not overlap, the first of which begins at 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrivals {
    rows: Vec<ArrivalRow>,
}

impl Arrivals {
    /// Takes rows as they are. They must ascend and not overlap.
    pub fn new(rows: Vec<ArrivalRow>) -> Self {
        debug_assert!(rows.windows(2).all(|pair| matches!(pair, [a, b] if a.end() <= b.start)));
        Self { rows }
    }

    /// The rows.
    pub fn rows(&self) -> &[ArrivalRow] {
        &self.rows
    }

    /// When the last row ends.
    pub fn length(&self) -> u64 {
        self.rows.last().map_or(0, ArrivalRow::end)
    }

    /// All messages.
    pub fn total(&self) -> u64 {
        self.rows.iter().fold(0, |sum, row| sum.saturating_add(row.count))
    }

    /// The same times with `factor` times the messages. What is lost by rounding one row is made up in the next, so the
    /// total is right.
    pub fn scaled(&self, factor: f64) -> Self {
        let (mut before, mut given) = (0_u64, 0_u64);
        let scale = |row: &ArrivalRow| {
            before = before.saturating_add(row.count);
            let due = (before as f64 * factor).round() as u64;
            let count = due.saturating_sub(given);
            given = given.max(due);
            ArrivalRow { count, ..*row }
        };
        Self { rows: self.rows.iter().map(scale).collect() }
    }
}

/// The moments of all arrivals, one after the other. Each message of a row arrives at a moment of the row that chance
/// picks, each as likely as the other.
///
/// A row's moments come from the seed and the row's number alone, so two cursors agree wherever they are, and none has
/// to remember more than a row, or a part of a large one.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    seed: u64,
    /// What the moments are of, and how many of them have passed.
    place: Place<'a>,
    passed: usize,
    moments: Vec<u64>,
}

/// A part of a row.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    rows: &'a [ArrivalRow],
    row: usize,
    part: u64,
}

impl<'a> Place<'a> {
    fn first(rows: &'a [ArrivalRow]) -> Self {
        Self { rows, row: 0, part: 0 }
    }

    /// What is there; `None` after the last.
    fn get(&self) -> Option<ArrivalRow> {
        self.rows.get(self.row).map(|row| row.part(self.part))
    }

    fn advance(&mut self) {
        self.part += 1;
        if self.rows.get(self.row).is_none_or(|row| self.part >= row.parts()) {
            (self.row, self.part) = (self.row + 1, 0);
        }
    }

    /// What chance begins with there.
    fn seed(&self, seed: u64) -> u64 {
        let of_row = mix(seed, u64::try_from(self.row).unwrap_or(u64::MAX));
        if self.part == 0 { of_row } else { mix(of_row, self.part) }
    }
}

impl<'a> Cursor<'a> {
    /// Before the first arrival.
    pub fn new(arrivals: &'a Arrivals, seed: u64) -> Self {
        Self::at(Place::first(&arrivals.rows), seed)
    }

    fn at(place: Place<'a>, seed: u64) -> Self {
        let mut cursor = Self { seed, place, passed: 0, moments: Vec::new() };
        cursor.fill();
        cursor
    }

    /// The next arrival.
    pub fn peek(&self) -> Option<u64> {
        self.moments.get(self.passed).copied()
    }

    /// Goes on to the arrival after the next.
    pub fn advance(&mut self) {
        self.passed += 1;
        if self.passed >= self.moments.len() && self.place.get().is_some() {
            self.place.advance();
            self.fill();
        }
    }

    /// Makes the moments of this place, or of the next that has any.
    fn fill(&mut self) {
        self.passed = 0;
        self.moments.clear();
        while let Some(row) = self.place.get() {
            if row.count > 0 {
                let mut chance = Rng::with_seed(self.place.seed(self.seed));
                self.moments.extend((0..row.count).map(|_| row.start + chance.u64(0..row.step)));
                self.moments.sort_unstable();
                return;
            }
            self.place.advance();
        }
    }
}

/// Counts arrivals up to moments that do not go back. It looks into a row only where a moment falls inside of it.
#[derive(Debug, Clone)]
pub struct ArrivalCounter<'a> {
    /// What is not over yet, and the arrivals of all that is.
    place: Place<'a>,
    before: u64,
    within: Option<Cursor<'a>>,
    seed: u64,
}

impl<'a> ArrivalCounter<'a> {
    /// At the start.
    pub fn new(arrivals: &'a Arrivals, seed: u64) -> Self {
        Self { place: Place::first(&arrivals.rows), before: 0, within: None, seed }
    }

    /// How many messages arrived before `moment`.
    pub fn before(&mut self, moment: u64) -> u64 {
        while let Some(row) = self.place.get()
            && row.end() <= moment
        {
            self.before += row.count;
            self.place.advance();
            self.within = None;
        }
        match self.place.get() {
            Some(row) if row.start < moment && row.count > 0 => self.before + self.inside(moment),
            _ => self.before,
        }
    }

    fn inside(&mut self, moment: u64) -> u64 {
        let cursor = self.within.get_or_insert_with(|| Cursor::at(self.place, self.seed));
        let later = cursor.moments.get(cursor.passed..).unwrap_or_default();
        cursor.passed += later.iter().take_while(|at| **at < moment).count();
        u64::try_from(cursor.passed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn rows(counts: &[u64], step: u64) -> Arrivals {
        let row = |(index, count): (usize, &u64)| ArrivalRow { start: index as u64 * step, step, count: *count };
        Arrivals::new(counts.iter().enumerate().map(row).collect())
    }

    fn all(arrivals: &Arrivals, seed: u64) -> Vec<u64> {
        let mut cursor = Cursor::new(arrivals, seed);
        let mut moments = Vec::new();
        while let Some(at) = cursor.peek() {
            moments.push(at);
            cursor.advance();
        }
        moments
    }

    #[test]
    fn a_scaled_total_is_right_though_every_row_rounds() {
        assert_eq!(rows(&[1; 1000], 5).scaled(0.25).total(), 250);
        assert_eq!(rows(&[3, 0, 7], 5).scaled(20.0).rows()[2].count, 140);
    }

    #[test]
    fn a_row_of_many_messages_is_made_in_parts_that_hold_all_of_them() {
        let count = 3 * AT_ONCE + 5;
        let arrivals = rows(&[2, count, 3], 1_000_000_000);
        let (mut cursor, mut last, mut counted) = (Cursor::new(&arrivals, 7), 0, 0_u64);
        let mut counter = ArrivalCounter::new(&arrivals, 7);
        while let Some(at) = cursor.peek() {
            assert!(at >= last, "{at} after {last}");
            assert!(cursor.moments.len() as u64 <= AT_ONCE);
            if counted % 100_000 == 0 && at > last {
                assert_eq!(counter.before(at), counted);
            }
            (last, counted) = (at, counted + 1);
            cursor.advance();
        }
        assert_eq!((counted, counter.before(u64::MAX)), (count + 5, count + 5));
        // However short the row is.
        let short = ArrivalRow { start: 4, step: 3, count: 5 * AT_ONCE };
        let parts: Vec<_> = (0..short.parts()).map(|index| short.part(index)).collect();
        assert!(parts.iter().all(|part| part.step == 1) && parts[2].end() == short.end());
        assert_eq!(parts.iter().map(|part| part.count).sum::<u64>(), short.count);
    }

    proptest! {
        #[test]
        fn every_message_arrives_in_its_row_and_in_order(
            counts in proptest::collection::vec(0_u64..9, 0..30), seed: u64,
        ) {
            let arrivals = rows(&counts, 1000);
            let moments = all(&arrivals, seed);
            prop_assert!(moments.is_sorted());
            prop_assert_eq!(moments.len() as u64, arrivals.total());
            for row in arrivals.rows() {
                let within = moments.iter().filter(|at| (row.start..row.end()).contains(*at)).count();
                prop_assert_eq!(within as u64, row.count);
            }
        }

        #[test]
        fn the_counter_agrees_with_the_cursor(
            counts in proptest::collection::vec(0_u64..9, 0..20),
            seed: u64,
            mut asked in proptest::collection::vec(0_u64..22_000, 0..40),
        ) {
            let arrivals = rows(&counts, 1000);
            let moments = all(&arrivals, seed);
            let mut counter = ArrivalCounter::new(&arrivals, seed);
            asked.sort_unstable();
            for at in asked {
                prop_assert_eq!(counter.before(at), moments.iter().filter(|moment| **moment < at).count() as u64);
            }
        }
    }
}
