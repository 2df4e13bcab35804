//! `hubbub-control user`: accounts from the command line. Passwords are read, never given as arguments: those
//! everybody on the machine can see.

use std::io::{BufRead as _, IsTerminal as _};

use clap::ArgMatches;

use crate::accounts::{self, Draft};
use crate::app::App;
use crate::config::Config;
use crate::error::Error;
use crate::origin::Origin;
use crate::store::users;
use crate::{Failed, serve};

/// Accounts that one statement lists.
const PAGE: i64 = 1_000;

/// Does what was asked.
pub fn run(config: Config, flags: &ArgMatches) -> Result<(), Failed> {
    let Some((command, flags)) = flags.subcommand() else { return Ok(()) };
    let password = match command {
        "create" | "set-password" => Some(read_password()?),
        _ => None,
    };
    let secret = serve::no_secret()?;
    serve::with_app(config, &secret, async |app| {
        let outcome = perform(&app, command, flags, password).await;
        outcome.map_err(|error| Failed::Other(describe(&error)))
    })
}

#[expect(clippy::print_stdout, reason = "what the command tells")]
async fn perform(
    app: &App,
    command: &str,
    flags: &ArgMatches,
    password: Option<String>,
) -> Result<(), Error> {
    let origin = Origin::command_line();
    let text = |name: &str| flags.try_get_one::<String>(name).ok().flatten().cloned();
    let username = text("username").unwrap_or_default();
    match (command, password) {
        ("create", Some(password)) => {
            let draft = Draft { username, password, display_name: text("display-name") };
            let user = accounts::create(app, draft, &origin).await?;
            if flags.get_flag("operator") {
                accounts::set_operator(app, user.id, true, &origin).await?;
            }
            println!("{}", user.id);
        }
        ("set-password", Some(password)) => {
            let user = accounts::by_name(app, &username).await?;
            accounts::set_password(app, user.id, password, &origin).await?;
        }
        ("erase-messages", _) => {
            let user = accounts::by_name(app, &username).await?;
            accounts::erase_messages(app, user.id, &origin).await?;
        }
        ("make-operator" | "remove-operator", _) => {
            let user = accounts::by_name(app, &username).await?;
            accounts::set_operator(app, user.id, command == "make-operator", &origin).await?;
        }
        _ => list(app).await?,
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what the command tells")]
async fn list(app: &App) -> Result<(), Error> {
    let mut after = 0;
    loop {
        let database = app.database().await?;
        let page = users::all(&**database, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.id.as_i64();
        for (user, standing) in page {
            let operator = if standing.is_operator { "\toperator" } else { "" };
            let banned = if standing.is_banned { "\tbanned" } else { "" };
            println!("{}\t{}\t{}{operator}{banned}", user.id, user.username, user.display_name);
        }
    }
}

/// From a prompt without echo, or the first line of what is piped in.
fn read_password() -> Result<String, Failed> {
    let unread = |error: std::io::Error| Failed::Other(format!("the password: {error}"));
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password("password: ").map_err(unread);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unread)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// With what is wrong inside, which a client of the API would not be told.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others say it all")]
pub(crate) fn describe(error: &Error) -> String {
    match error {
        Error::Invalid(fields) => {
            let fields: Vec<_> = fields.iter().map(|(field, reason)| format!("{field}: {reason}")).collect();
            fields.join("; ")
        }
        Error::Unavailable(inner) | Error::Unknown(inner) | Error::Internal(inner) => inner.clone(),
        other => other.to_string(),
    }
}
