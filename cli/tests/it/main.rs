//! Integration tests of the binary: raw bytes against the server, its processes, the runner's, the specs in `t/`, and pages of
//! commands with what they answer, in `tests/cmd`.

mod commands;
mod environment;
mod http1;
mod rewriting;
mod runner;
mod server_process;
mod specs;
mod worker_settings;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let pages = Trial::test("pages_of_commands", || {
        trycmd::TestCases::new().case("tests/cmd/*.trycmd");
        Ok(())
    });
    let mut trials = vec![pages];
    trials.extend(commands::trials());
    trials.extend(environment::trials());
    trials.extend(http1::trials());
    trials.extend(runner::trials());
    trials.extend(rewriting::trials());
    trials.extend(server_process::trials());
    trials.extend(specs::trials());
    trials.extend(worker_settings::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
