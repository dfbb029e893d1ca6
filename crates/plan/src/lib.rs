//! What should run, and what to do next: pure, no clock, no I/O
