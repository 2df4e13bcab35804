//! The settings of `hubbub-dev` itself, and which of the caller's reach the parts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Command;
use hubbub_common::config::within;
use hubbub_common::settings::{PREFIX, Setting, SettingError, Settings, args};

use crate::stack::{Builder, Stack, profile_folder};

const PREFIX_DEV: &str = "HUBBUB_DEV_";
/// What a part can't share with another one.
const OF_ONE_PART: [&str; 3] = ["HUBBUB_LISTEN", "HUBBUB_ADMIN_LISTEN", "HUBBUB_SERVER_ID"];
/// Parts that are restarted together with Redis or Postgres wait for them.
const WAIT_SECONDS: &str = "30";

const PORT: Setting = setting("HUBBUB_DEV_PORT", Some("8080"), "port of the public address, on 127.0.0.1");
const GATEWAYS: Setting = setting("HUBBUB_DEV_GATEWAYS", Some("2"), "number of gateways, 1 to 16");
const CONTROLS: Setting = setting("HUBBUB_DEV_CONTROLS", Some("1"), "number of control planes, 1 to 8");
const FOLDER: Setting =
    setting("HUBBUB_DEV_FOLDER", None, "where data, logs and stack.json are [default: target/dev]");

const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting { name, alias: None, default, help, secret: false }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) port: u16,
    gateways: usize,
    controls: usize,
    pub(super) folder: PathBuf,
    /// The caller's settings for the parts.
    passed_on: Vec<(OsString, OsString)>,
    /// The caller's settings that no two parts can share.
    pub(super) ignored: Vec<String>,
}

impl Config {
    pub(super) fn from_process() -> Result<Self, SettingError> {
        let own = [PORT, GATEWAYS, CONTROLS, FOLDER];
        let command = Command::new("hubbub-dev")
            .version(env!("CARGO_PKG_VERSION"))
            .about(
                "Runs a whole private Hubbub until Ctrl-C. Any other HUBBUB_* variable reaches \
                 the gateways and control planes.",
            )
            .args(args(&own));
        let settings = Settings::from_process(&own, &command.get_matches())?;
        Self::check(&settings, std::env::vars_os().collect())
    }

    fn check(settings: &Settings, environment: Vec<(OsString, OsString)>) -> Result<Self, SettingError> {
        let beside_programs = || {
            let folder = profile_folder().map_err(|error| error.to_string());
            let target = folder.map(|folder| folder.parent().map(|target| target.join("dev")));
            let target = target.and_then(|target| target.ok_or_else(|| "no target folder".to_owned()));
            target.map_err(|problem| SettingError { name: FOLDER.name, problem })
        };
        let named =
            |name: &OsString, prefix: &str| name.to_str().is_some_and(|name| name.starts_with(prefix));
        let (ignored, passed_on) = environment
            .into_iter()
            .filter(|(name, _)| named(name, PREFIX) && !named(name, PREFIX_DEV))
            .partition::<Vec<_>, _>(|(name, _)| OF_ONE_PART.iter().any(|own| name == own));
        Ok(Self {
            port: settings.get(&PORT, within(1..=u16::MAX))?,
            gateways: settings.get(&GATEWAYS, within(1..=16))?,
            controls: settings.get(&CONTROLS, within(1..=8))?,
            folder: match settings.optional(&FOLDER, |path| std::path::absolute(path))? {
                Some(folder) => folder,
                None => beside_programs()?,
            },
            passed_on,
            ignored: ignored.into_iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect(),
        })
    }

    /// The stack that these settings ask for.
    pub(super) fn builder(&self) -> Builder {
        let mut builder = Stack::builder()
            .gateways(self.gateways)
            .controls(self.controls)
            .public_port(self.port)
            .folder(&self.folder)
            .durable(true)
            .env("HUBBUB_WAIT_SECONDS", WAIT_SECONDS);
        for (name, value) in &self.passed_on {
            let url = value.to_string_lossy();
            if name == "HUBBUB_REDIS_URL" {
                builder = builder.redis_at(url);
            } else if name == "HUBBUB_DATABASE_URL" {
                builder = builder.postgres_at(url);
            }
            builder = builder.env(name, value);
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, SettingError> {
        let variable = |asked: &str| {
            own.iter().find(|(name, _)| *name == asked).map(|(_, value)| Ok((*value).to_owned()))
        };
        let settings = Settings::from_sources(&[PORT, GATEWAYS, CONTROLS, FOLDER], |_| None, variable)?;
        Config::check(
            &settings,
            environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        )
    }

    #[test]
    fn each_bad_value_names_its_variable() {
        let bad = [
            ("HUBBUB_DEV_PORT", "0"),
            ("HUBBUB_DEV_PORT", "http"),
            ("HUBBUB_DEV_GATEWAYS", "0"),
            ("HUBBUB_DEV_GATEWAYS", "17"),
            ("HUBBUB_DEV_CONTROLS", "-1"),
        ];
        for (name, value) in bad {
            assert_eq!(check(&[(name, value)], &[]).unwrap_err().name, name, "{value}");
        }
    }

    #[test]
    fn the_callers_settings_are_passed_on() {
        let config = check(
            &[],
            &[("HUBBUB_LOG", "debug"), ("HUBBUB_DEV_PORT", "1"), ("HUBBUB_LISTEN", "x"), ("PATH", "/")],
        );
        let config = config.unwrap();
        assert_eq!(config.passed_on, [("HUBBUB_LOG".into(), "debug".into())]);
        assert_eq!(config.ignored, ["HUBBUB_LISTEN"]);
        assert_eq!(config.port, 8080);
    }
}
