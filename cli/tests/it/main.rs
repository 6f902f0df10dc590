//! Integration tests of the binary.

mod http1;
mod server_process;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = http1::trials().into_iter().chain(server_process::trials()).collect();
    libtest_mimic::run(&arguments, trials).exit();
}
