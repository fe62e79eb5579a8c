//! The name of what a command is about.

use clap::Args;

/// A name, the first argument or a flag.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::master) struct Name {
    /// Its name
    #[arg(value_name = "NAME")]
    given: Option<String>,
    /// The same as a flag
    #[arg(long = "name", value_name = "NAME", hide = true)]
    flag: Option<String>,
}

impl Name {
    /// The name itself.
    pub(super) fn as_str(&self) -> &str {
        // One of them is given, or the command line is not accepted.
        self.given.as_deref().or(self.flag.as_deref()).unwrap_or_default()
    }
}
