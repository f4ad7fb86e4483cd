//! Parses the command line, runs the command, maps an error to an exit code.

use std::io::Write;

use clap::Parser;

fn main() {
    exit_quietly_if_output_is_closed();
    pbtnas::register_tasks();
    let code = pbtnas::cli::run(pbtnas::cli::Cli::parse());
    // Exits without libtorch's destructors: they take half as long as loading it, and nothing depends on them.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(code.into())
}

/// Exit code when the output pipe was closed, as in `pbtnas lineage | head`: a shell's for SIGPIPE.
const OUTPUT_CLOSED: i32 = 141;

/// Exits without a backtrace when output cannot be printed.
fn exit_quietly_if_output_is_closed() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        match panic.payload().downcast_ref::<String>().filter(|text| text.starts_with("failed printing to")) {
            Some(text) if text.contains("Broken pipe") => signal_hook::low_level::exit(OUTPUT_CLOSED),
            Some(text) => {
                let _ = writeln!(std::io::stderr(), "pbtnas: {text}");
                signal_hook::low_level::exit(pbtnas_engine::fault::exit::IO.into())
            }
            None => usual(panic),
        }
    }));
}
