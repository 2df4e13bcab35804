//! What a [`RedisUrl`] means: addresses, credentials, certificates, and whom to ask for the primary.

use std::sync::Arc;

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisResult, TlsCertificates,
    TlsMode,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{CONNECT_MAX, timed_out};
use crate::redis_url::{Address, Login, RedisUrl, Shape};

/// Sentinels are asked one after the other, and what they name is asked whether it is a primary.
const RESOLVE_MAX: std::time::Duration = CONNECT_MAX.saturating_mul(2);

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Servers(Arc<Inner>);

struct Inner {
    url: RedisUrl,
    certificates: TlsCertificates,
    /// The client library remembers here which sentinel answered last.
    sentinel: Option<Mutex<SentinelClient>>,
}

impl Servers {
    /// Checks that the URL and the certificates make sense; connects to nobody.
    pub fn new(url: &RedisUrl, ca: Option<&[u8]>) -> RedisResult<Self> {
        let certificates = TlsCertificates { client_tls: None, root_cert: ca.map(<[u8]>::to_vec) };
        let sentinel = sentinel(url, &certificates)?.map(Mutex::new);
        let servers = Self(Arc::new(Inner { url: url.clone(), certificates, sentinel }));
        for address in servers.seeds() {
            servers.client_of(address)?;
        }
        Ok(servers)
    }

    /// The URL that they were made from.
    pub fn url(&self) -> &RedisUrl {
        &self.0.url
    }

    /// The server that takes every command now; in a Cluster there is none such.
    pub(super) async fn primary(&self) -> RedisResult<Client> {
        if let Some(sentinel) = &self.0.sentinel {
            let resolve = async { sentinel.lock().await.async_get_client().await };
            return timeout(RESOLVE_MAX, resolve)
                .await
                .unwrap_or_else(|_| Err(timed_out("no sentinel names a primary that answers")));
        }
        match &self.0.url.shape {
            Shape::Unix(path) => self.open(ConnectionAddr::Unix(path.into())),
            Shape::Single(address) => self.client_of(address),
            Shape::Sentinel { .. } | Shape::Cluster(_) => Err(timed_out("no one server takes every command")),
        }
    }

    /// The addresses that the URL names, where these are servers.
    pub(super) fn seeds(&self) -> &[Address] {
        match &self.0.url.shape {
            Shape::Single(address) => std::slice::from_ref(address),
            Shape::Cluster(nodes) => nodes,
            Shape::Unix(_) | Shape::Sentinel { .. } => &[],
        }
    }

    /// The server at an address.
    pub(super) fn client_of(&self, address: &Address) -> RedisResult<Client> {
        self.open(connection_addr(address, self.0.url.tls))
    }

    fn open(&self, address: ConnectionAddr) -> RedisResult<Client> {
        let Login { user, password } = &self.0.url.login;
        let mut settings = RedisConnectionInfo::default().set_db(self.0.url.db);
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
        if let Some(password) = password {
            settings = settings.set_password(password.reveal());
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        if self.0.url.tls {
            Client::build_with_tls(info, self.0.certificates.clone())
        } else {
            Client::open(info)
        }
    }
}

fn connection_addr(address: &Address, tls: bool) -> ConnectionAddr {
    let (host, port) = (address.host.clone(), address.port);
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn sentinel(url: &RedisUrl, certificates: &TlsCertificates) -> RedisResult<Option<SentinelClient>> {
    let Shape::Sentinel { sentinels, master, login } = &url.shape else { return Ok(None) };
    let addresses = sentinels.iter().map(|address| connection_addr(address, url.tls));
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_db(url.db);
    if url.tls {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates.clone());
    }
    if let Some(user) = &url.login.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &url.login.password {
        builder = builder.set_client_to_redis_password(password.reveal());
    }
    if let Some(user) = &login.user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &login.password {
        builder = builder.set_client_to_sentinel_password(password.reveal());
    }
    builder.build().map(Some)
}
