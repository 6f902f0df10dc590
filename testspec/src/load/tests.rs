//! Loading small spec files.
