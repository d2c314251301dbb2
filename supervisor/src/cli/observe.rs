//! Options of log lines and traces.

use crate::observe::logs::{LogFormat, filter};
use crate::observe::otlp::{endpoint, ratio};

const OBSERVE: &str = "Logs and traces";

/// Of a server.
#[derive(Debug, Clone, clap::Args)]
pub struct ObserveArgs {
    /// How lines on stderr look. `pretty`: text, coloured on a terminal; `json`: an object a line;
    /// `auto`: JSON where stderr is the journal of systemd, otherwise text
    #[arg(long, value_enum, default_value_t = LogFormat::Auto, help_heading = OBSERVE)]
    pub log_format: LogFormat,

    /// Which lines: error, warn, info, debug, trace or off, or a list of targets with levels
    /// (info,mcp_v8_supervisor::observe=debug). It wins over RUST_LOG [default: info]
    #[arg(long, value_name = "FILTER", value_parser = filter, help_heading = OBSERVE)]
    pub log_level: Option<String>,

    /// Export traces to this collector, by OTLP over HTTP (http://127.0.0.1:4318; spans go to
    /// /v1/traces there). OTEL_EXPORTER_OTLP_ENDPOINT and its kin are heeded, the flag wins
    #[arg(long, value_name = "URL", value_parser = endpoint, help_heading = OBSERVE)]
    pub otlp_endpoint: Option<String>,

    /// Share of the traces that begin here to export, 0 to 1. A trace that a caller has begun is
    /// exported if the caller has chosen it
    #[arg(long, value_name = "RATIO", default_value_t = 1.0, value_parser = ratio, help_heading = OBSERVE)]
    pub otlp_sample: f64,
}
