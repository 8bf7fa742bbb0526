//! The program: everything it does is in the library.

fn main() -> std::process::ExitCode {
    end_at_any_panic();
    harmonylite::cli::main(std::env::args_os().collect())
}

/// A thread or a task that is gone would leave a node that looks healthy and replicates nothing. What was committed is as safe as
/// with kill -9.
fn end_at_any_panic() {
    /// What a panic of the main thread ends with anyway.
    const PANICKED: i32 = 101;
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(PANICKED);
    }));
}
