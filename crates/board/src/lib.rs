//! What the processes of a pool share: the scoreboard in shared memory (`scoreboard`) and the messages
//! between master and fork server (`message`). A reader treats every byte as hostile: the writers run PHP.

mod cells;
pub mod mailbox;
pub mod message;
pub mod scoreboard;

pub use message::{Order, PoolSpec, Report};
pub use scoreboard::{Board, Slot, SlotView, Stage};
