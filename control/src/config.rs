//! The control plane's settings, checked, and its command line.

use clap::{Arg, Command};
use hubbub_common::config::{Secret, Shared, within};
use hubbub_common::settings::{self as names, SettingError, Settings};
use tokio_postgres::Config as PgConfig;
use tokio_postgres::config::Host;

use crate::uploads::settings::UploadSettings;

/// Where Postgres listens on Debian when a URL names no host.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// Every setting of the control plane.
#[derive(Debug)]
pub struct Config {
    /// What gateways are told as well.
    pub shared: Shared,
    /// Postgres, perhaps through a pooler.
    pub database: PgConfig,
    /// Postgres, not through a pooler.
    pub direct_database: PgConfig,
    /// A replica for history.
    pub read_database: Option<PgConfig>,
    /// Connections to each.
    pub database_connections_max: usize,
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
        .args(names::args(&names::control()))
}

impl Config {
    /// Checks every setting.
    pub fn check(settings: &Settings) -> Result<Self, SettingError> {
        let shared = Shared::check(settings, &names::CONTROL_LISTEN, &names::CONTROL_ADMIN_LISTEN)?;
        let database = settings.get(&names::DATABASE_URL, database)?;
        Ok(Self {
            direct_database: settings
                .optional(&names::DIRECT_DATABASE_URL, self::database)?
                .unwrap_or_else(|| database.clone()),
            read_database: settings.optional(&names::READ_DATABASE_URL, self::database)?,
            database_connections_max: settings.get(&names::DATABASE_CONNECTIONS_MAX, within(1..=1_000))?,
            uploads: UploadSettings::check(settings)?,
            database,
            shared,
        })
    }

    /// The secret of tickets, which most of the control plane can't do without.
    pub fn jwt_secret(&self) -> Result<&Secret, SettingError> {
        let missing = || SettingError {
            name: names::JWT_SECRET.name,
            problem:
                "must be set, to the same value as on the gateways (make one with: openssl rand -base64 32)"
                    .to_owned(),
        };
        self.shared.jwt_secret.as_ref().ok_or_else(missing)
    }
}

fn database(url: &str) -> Result<PgConfig, String> {
    let expected = || "expected postgresql://[user[:password]@][host][:port]/database".to_owned();
    let is_url = url.starts_with("postgresql://") || url.starts_with("postgres://");
    let mut config: PgConfig = url.parse().ok().filter(|_| is_url).ok_or_else(expected)?;
    if config.get_hosts().is_empty() {
        config.host_path(SOCKET_FOLDER);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(std::time::Duration::from_secs(5));
    }
    Ok(config)
}

/// Where a database is, fit for logs.
pub fn shown(config: &PgConfig) -> String {
    let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or_default())
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
            ("HUBBUB_DATABASE_CONNECTIONS_MAX", "0"),
        ];
        for (name, value) in bad {
            assert_eq!(check(&[(name, value)]).unwrap_err().name, name, "{value}");
        }
        assert_eq!(check(&[]).unwrap().jwt_secret().unwrap_err().name, "HUBBUB_JWT_SECRET");
    }

    #[test]
    fn a_url_without_host_means_the_local_socket() {
        assert_eq!(shown(&check(&[]).unwrap().database), "/var/run/postgresql:5432/hubbub");
        let other = check(&[("DATABASE_URL", "postgresql://ada:secret@db:6432/chat")]).unwrap();
        assert_eq!(shown(&other.direct_database), "db:6432/chat");
    }
}
