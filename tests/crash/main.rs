//! Breaks the machine under the ledger: power that fails at any instant, disks that refuse, processes
//! that are killed. After each of these the books must be whole.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

mod access;
mod books;
mod chance;
mod cover;
mod failing;
mod kill;
mod machine;
mod power;
