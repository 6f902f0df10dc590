//! What the fuzz targets promise, on made-up programs and on real code.

mod bytecode;
