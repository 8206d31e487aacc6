//! The hash map of what is looked up for every call.
//!
//! The standard library's hash resists callers who would choose the keys, at three times the price. Here
//! callers cannot put anything in, or what goes in is bounded or drawn at random.

use std::collections::HashMap;

use foldhash::fast::RandomState;

pub type Map<K, V> = HashMap<K, V, RandomState>;
