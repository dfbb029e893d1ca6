//! Scoreboard in shared memory, and the messages between processes
