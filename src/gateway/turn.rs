//! When calls of one worker go on: those that have come equally far, together.
//!
//! What is sent wakes whoever waits for it, and to wake a processor that has gone to sleep costs as much
//! as a good part of a call. Sent close together, only the first of many pays that. On the way back the
//! end of a hold does the same, for the sake of the journal.

/// Lets every other call that is ready come as far as this one before any of them goes on.
pub(super) async fn together() {
    tokio::task::yield_now().await;
}
