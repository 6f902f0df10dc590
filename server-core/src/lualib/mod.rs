//! The Lua layer.
