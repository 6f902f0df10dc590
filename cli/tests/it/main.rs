//! Integration tests of the binary.

mod server_process;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, server_process::trials()).exit();
}
