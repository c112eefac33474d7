//! Guests that want to hurt the host or their neighbours.

mod cases;
mod neighbour;
mod policies;
mod spend;
mod text;

use crate::row::Row;

pub(crate) fn rows() -> Vec<Row> {
    [spend::ROWS, policies::ROWS, neighbour::ROWS].concat()
}
