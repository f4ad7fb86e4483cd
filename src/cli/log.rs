//! Prints the events of the library crates to standard error, a line each.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Options of every command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Verbosity {
    /// Print only results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
    /// Print more: what is done (-v), and every file and command (-vv); RUST_LOG takes precedence
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    verbose: u8,
}

impl Verbosity {
    /// Prints events from now on.
    pub fn start(self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::WARN,
            (_, 0) => LevelFilter::INFO,
            (_, 1) => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        // `debug`, or `pbtnas_core=debug,info`; anything else counts as unset.
        let filter = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
        let filter = filter.and_then(|text| text.parse::<Targets>().ok());
        let filter = filter.unwrap_or_else(|| Targets::new().with_default(level));
        // Fails only if a program that calls this library has installed its own printer.
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .event_format(EventLine)
            .log_internal_errors(false)
            .with_filter(filter);
        let _ = tracing_subscriber::registry().with(layer).try_init();
    }
}

/// `pbtnas: ` and the message.
struct EventLine;

impl<S, N> FormatEvent<S, N> for EventLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "pbtnas: ")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
