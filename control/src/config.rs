//! The control plane's settings, checked, and its command line.

use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use hubbub_common::config::{Shared, read_file, seconds, within};
use hubbub_common::settings::{self as names, SettingError, Settings};
use hubbub_common::token::SecretKey;

use crate::database::{Database, Tls};
use crate::rate::Limit;
use crate::uploads::settings::UploadSettings;

/// Every setting of the control plane.
#[derive(Debug)]
pub struct Config {
    /// What gateways are told as well.
    pub shared: Shared,
    /// Postgres, perhaps through a pooler.
    pub database: Database,
    /// Postgres, not through a pooler.
    pub direct_database: Database,
    /// A replica for history.
    pub read_database: Option<Database>,
    /// How far that may be behind.
    pub read_staleness_max: Duration,
    /// How long a search looks through messages.
    pub search_max: Duration,
    /// How long messages are kept, unless for ever.
    pub retention: Option<Duration>,
    /// How often background work is looked for.
    pub janitor_every: Duration,
    /// Connections to each.
    pub database_connections_max: usize,
    /// Logins and registrations from one address.
    pub auth_per_address: Limit,
    /// Whatever one user changes.
    pub writes_per_user: Limit,
    /// How long a request, or its body, may take.
    pub request_max: Duration,
    /// Silence after which a gateway counts as dead.
    pub gateway_timeout: Duration,
    /// Uploaded files.
    pub uploads: UploadSettings,
}

/// The command line.
pub fn command() -> Command {
    Command::new("hubbub-control")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Accounts, rooms and history over REST; writes the streams into Postgres.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("serve").about("Serves the REST API and the web client, and persists messages"),
        )
        .subcommand(Command::new("migrate").about("Brings the database's schema up to date"))
        .subcommand(
            Command::new("token")
                .about("Prints a signed ticket (JWT) for connecting to a gateway")
                .arg(Arg::new("user").long("user").required(true).value_name("ID").help("id of the user"))
                .arg(Arg::new("name").long("name").value_name("NAME").help("name to show [default: the id]"))
                .arg(Arg::new("rooms").long("rooms").value_name("ROOMS").help(
                    "comma list of room ids to join and send to, or * for any [default: by membership]",
                ))
                .arg(
                    Arg::new("ttl")
                        .long("ttl")
                        .value_name("SECONDS")
                        .default_value("3600")
                        .help("how long it is good for"),
                ),
        )
        .subcommand(users())
        .subcommand(rooms())
        .args(names::args(&names::control()))
}

fn users() -> Command {
    let name = || Arg::new("username").required(true).value_name("USERNAME");
    Command::new("user")
        .about("Makes and changes accounts")
        .subcommand_required(true)
        .subcommand(
            Command::new("create")
                .about("Makes an account; the password comes from a prompt, or as a line on standard input")
                .arg(name())
                .arg(Arg::new("display-name").long("display-name").value_name("NAME").help("name to show"))
                .arg(
                    Arg::new("operator")
                        .long("operator")
                        .action(ArgAction::SetTrue)
                        .help("lets them administer the whole system"),
                ),
        )
        .subcommand(
            Command::new("set-password")
                .about("Sets a password, as for create, and ends the account's login sessions")
                .arg(name()),
        )
        .subcommand(
            Command::new("make-operator").about("Lets somebody administer the whole system").arg(name()),
        )
        .subcommand(
            Command::new("erase-messages")
                .about(
                    "Has name and text of everything that somebody wrote until now erased, in the background",
                )
                .arg(name()),
        )
        .subcommand(Command::new("remove-operator").about("Takes that right away").arg(name()))
        .subcommand(Command::new("list").about("Lists accounts: id, name, display name, what is special"))
}

fn rooms() -> Command {
    Command::new("room")
        .about("Changes what operators decide about rooms")
        .subcommand_required(true)
        .subcommand(
            Command::new("retention")
                .about("How long a room keeps its messages, where that is less than HUBBUB_RETENTION_DAYS")
                .arg(Arg::new("room").required(true).value_name("ID"))
                .arg(
                    Arg::new("days")
                        .required(true)
                        .value_name("DAYS")
                        .help("whole days from 1 to 36500, or none: as long as all others"),
                ),
        )
}

impl Config {
    /// Checks every setting.
    pub fn check(settings: &Settings) -> Result<Self, SettingError> {
        let shared = Shared::check(settings, &names::CONTROL_LISTEN, &names::CONTROL_ADMIN_LISTEN)?;
        let tls = Tls::new(settings.optional(&names::DATABASE_CA_FILE, read_file)?.as_deref())?;
        let database = |url: &str| Database::parse(url, &tls);
        let main = settings.get(&names::DATABASE_URL, database)?;
        Ok(Self {
            direct_database: settings
                .optional(&names::DIRECT_DATABASE_URL, database)?
                .unwrap_or_else(|| main.clone()),
            read_database: settings.optional(&names::READ_DATABASE_URL, database)?,
            read_staleness_max: settings
                .get(&names::READ_STALENESS_MS_MAX, within(10..=3_600_000))
                .map(Duration::from_millis)?,
            search_max: settings.get(&names::SEARCH_MS, within(1..=60_000)).map(Duration::from_millis)?,
            retention: Some(settings.get(&names::RETENTION_DAYS, within(0..=36_500))?)
                .filter(|days| *days > 0)
                .map(|days| Duration::from_hours(24 * days)),
            janitor_every: settings.get(&names::JANITOR_SECONDS, seconds(1..=86_400))?,
            database_connections_max: settings.get(&names::DATABASE_CONNECTIONS_MAX, within(1..=1_000))?,
            auth_per_address: Limit {
                name: "auth-address",
                per_minute: settings.get(&names::AUTH_PER_MINUTE, within(0..=60_000))?,
            },
            writes_per_user: Limit {
                name: "write-user",
                per_minute: settings.get(&names::WRITES_PER_MINUTE, within(0..=60_000))?,
            },
            request_max: settings.get(&names::REQUEST_SECONDS, seconds(1..=3_600))?,
            gateway_timeout: settings.get(&names::GATEWAY_TIMEOUT_SECONDS, seconds(1..=3_600))?,
            uploads: UploadSettings::check(settings)?,
            database: main,
            shared,
        })
    }

    /// How far back a client can resume, in milliseconds.
    pub fn resume_window_ms(&self) -> u64 {
        u64::try_from(self.shared.resume_window.as_millis()).unwrap_or(u64::MAX)
    }

    /// The secret of tickets, which most of the control plane can't do without.
    pub fn jwt_secret(&self) -> Result<&SecretKey, SettingError> {
        let missing = || SettingError {
            name: names::JWT_SECRET.name,
            problem:
                "must be set, to the same value as on the gateways (make one with: openssl rand -base64 32)"
                    .to_owned(),
        };
        self.shared.keys.current.as_ref().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[(&str, &str)]) -> Result<Config, SettingError> {
        let variable = |asked: &str| {
            values.iter().find(|(name, _)| *name == asked).map(|(_, value)| Ok((*value).to_owned()))
        };
        Config::check(&Settings::from_sources(&names::control(), |_| None, variable)?)
    }

    #[test]
    fn each_bad_value_names_its_variable() {
        let bad = [
            ("HUBBUB_DATABASE_URL", "mysql://x"),
            ("HUBBUB_DIRECT_DATABASE_URL", "x"),
            ("HUBBUB_READ_DATABASE_URL", "postgresql://h:port/x"),
            ("HUBBUB_READ_STALENESS_MS_MAX", "9"),
            ("HUBBUB_SEARCH_MS", "0"),
            ("HUBBUB_RETENTION_DAYS", "-1"),
            ("HUBBUB_JANITOR_SECONDS", "0"),
            ("HUBBUB_DATABASE_CA_FILE", "/nowhere/at.all"),
            ("HUBBUB_DATABASE_CONNECTIONS_MAX", "0"),
            ("HUBBUB_AUTH_PER_MINUTE", "-1"),
            ("HUBBUB_WRITES_PER_MINUTE", "60001"),
        ];
        for (name, value) in bad {
            assert_eq!(check(&[(name, value)]).unwrap_err().name, name, "{value}");
        }
        assert_eq!(check(&[]).unwrap().jwt_secret().unwrap_err().name, "HUBBUB_JWT_SECRET");
    }

    #[test]
    fn the_direct_url_is_the_other_one_where_it_is_absent() {
        assert_eq!(check(&[]).unwrap().database.shown(), "/var/run/postgresql:5432/hubbub");
        let other = check(&[("DATABASE_URL", "postgresql://ada:secret@db:6432/chat")]).unwrap();
        assert_eq!(other.direct_database.shown(), "db:6432/chat");
    }
}
