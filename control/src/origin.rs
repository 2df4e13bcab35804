//! From where a request comes, for login sessions and the audit log.

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The client's address.
    pub address: String,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// The id of the request, which its log lines carry too.
    pub request: String,
}

impl Origin {
    /// Somebody who runs our program on the server.
    pub fn command_line() -> Self {
        Self { address: "command line".to_owned(), ..Self::default() }
    }
}
