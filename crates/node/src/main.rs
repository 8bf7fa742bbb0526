//! The program: everything it does is in the library.

fn main() -> std::process::ExitCode {
    harmonylite::cli::main(std::env::args_os().collect())
}
