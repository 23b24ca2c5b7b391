//! (taking shape)
