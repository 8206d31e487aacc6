//! What becomes of calls of the responses endpoint and of the answers to them.
