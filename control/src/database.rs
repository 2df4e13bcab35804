//! How Postgres is reached: where, and by TLS or not.
//!
//! TLS is verified, chain and host name, or not used at all: `sslmode=prefer` and the like, which take whatever they
//! get, are refused. Without `sslmode` there is none.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use hubbub_common::settings::{DATABASE_CA_FILE, SettingError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where Postgres listens on Debian when a URL names no host.
const SOCKET_FOLDER: &str = "/var/run/postgresql";
/// How long connecting may take, where the URL does not say.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// See the module's text.
#[derive(Clone)]
pub struct Database {
    /// Where, as whom, and whether by TLS.
    pub config: Config,
    /// Verifies the server, where TLS is used.
    pub tls: MakeRustlsConnect,
}

/// Who vouches for a server.
#[derive(Clone)]
pub struct Tls(MakeRustlsConnect);

impl Tls {
    /// The certificates of a PEM file, or those that the system trusts.
    pub fn new(ca: Option<&[u8]>) -> Result<Self, SettingError> {
        let bad = |problem: String| SettingError { name: DATABASE_CA_FILE.name, problem };
        let mut roots = RootCertStore::empty();
        match ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                    roots.add(certificate).map_err(|error| bad(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(bad("holds no certificate".to_owned()));
                }
            }
            None => {
                // What can't be read vouches for nobody; a server that needed it is then refused.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| bad(error.to_string()))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(MakeRustlsConnect::new(config)))
    }
}

impl Database {
    /// From a URL.
    pub fn parse(url: &str, tls: &Tls) -> Result<Self, String> {
        let expected = || "expected postgresql://[user[:password]@][host][:port]/database".to_owned();
        let is_url = url.starts_with("postgresql://") || url.starts_with("postgres://");
        let mode = url
            .split_once('?')
            .and_then(|(_, query)| query.split('&').find_map(|parameter| parameter.strip_prefix("sslmode=")));
        let is_secure = match mode {
            None | Some("disable") => false,
            Some("require" | "verify-full") => true,
            Some(_) => {
                return Err(
                    "expected sslmode disable, or verify-full (require means the same here)".to_owned()
                );
            }
        };
        // The library knows no name for what it leaves to its caller.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().ok().filter(|_| is_url).ok_or_else(expected)?;
        config.ssl_mode(if is_secure { SslMode::Require } else { SslMode::Disable });
        if config.get_hosts().is_empty() {
            config.host_path(SOCKET_FOLDER);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("hubbub-control");
        }
        Ok(Self { config, tls: tls.0.clone() })
    }

    /// One connection, and the task that drives it until the client is dropped.
    pub async fn connect(&self) -> Result<(Client, JoinHandle<Result<(), Error>>), Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        Ok((client, tokio::spawn(connection)))
    }

    /// The same, where a peer that is gone without a word is noticed within seconds.
    #[must_use]
    pub fn watchful(&self) -> Self {
        let mut watchful = self.clone();
        let second = Duration::from_secs(1);
        watchful.config.keepalives_idle(second).keepalives_interval(second).keepalives_retries(3);
        watchful.config.tcp_user_timeout(4 * second);
        watchful
    }

    /// Where it is, fit for logs.
    pub fn shown(&self) -> String {
        let host = self.config.get_hosts().first().map_or_else(String::new, |host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// An error with its causes, which the library's own text keeps to itself.
pub fn describe(error: &Error) -> String {
    let mut text = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    let mut source = error.source().filter(|_| error.as_db_error().is_none());
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Database, String> {
        Database::parse(url, &Tls::new(None).unwrap())
    }

    #[test]
    fn tls_is_verified_or_not_used() {
        let mode = |url: &str| parse(url).map(|database| database.config.get_ssl_mode());
        assert_eq!(mode("postgresql://h/d"), Ok(SslMode::Disable));
        assert_eq!(mode("postgresql://h/d?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(mode("postgresql://h/d?sslmode=require"), Ok(SslMode::Require));
        assert_eq!(mode("postgresql://h/d?application_name=x&sslmode=verify-full"), Ok(SslMode::Require));
        for lax in ["prefer", "allow", "verify-ca", "x"] {
            assert!(mode(&format!("postgresql://h/d?sslmode={lax}")).unwrap_err().contains("verify-full"));
        }
    }

    #[test]
    fn what_vouches_must_be_certificates() {
        assert!(Tls::new(Some(b"nothing")).is_err());
        assert!(Tls::new(Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")).is_err());
    }

    #[test]
    fn a_url_without_host_means_the_local_socket() {
        assert_eq!(parse("postgresql:///hubbub").unwrap().shown(), "/var/run/postgresql:5432/hubbub");
        assert_eq!(parse("postgres://ada:secret@db:6432/chat").unwrap().shown(), "db:6432/chat");
        assert!(parse("mysql://x").is_err() && parse("postgresql://h:port/x").is_err());
    }
}
