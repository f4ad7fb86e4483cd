//! Parses the command line, runs the command, maps an error to an exit code.

use std::io::Write;

use clap::Parser;

fn main() {
    leave_when_nobody_reads();
    let code = pbtnas::cli::run(pbtnas::cli::Cli::parse()).unwrap_or_else(|error| {
        eprintln!("pbtnas: {}", pbtnas::error::message(&error));
        pbtnas::error::exit_code(&error)
    });
    // Not by way of libtorch's destructors: they take half as long as its start, and nothing rests on them.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(code.into())
}

/// Exit code when whoever read what is printed has left, as in `pbtnas lineage | head`: a shell's for SIGPIPE.
const UNREAD: i32 = 141;

/// That what is printed cannot be written is no fault of the program: it ends without a trace of its stack.
fn leave_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        match panic.payload().downcast_ref::<String>().filter(|said| said.starts_with("failed printing to")) {
            Some(said) if said.contains("Broken pipe") => signal_hook::low_level::exit(UNREAD),
            Some(said) => {
                let _ = writeln!(std::io::stderr(), "pbtnas: {said}");
                signal_hook::low_level::exit(pbtnas::error::IO.into())
            }
            None => usual(panic),
        }
    }));
}
