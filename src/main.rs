//! The tool `steadfast`: launches runs and looks at what they leave; it knows no physics.

use std::process::ExitCode;

fn main() -> ExitCode {
    steadfast::cli::main()
}
