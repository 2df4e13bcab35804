//! A private PgBouncer in transaction mode before the private Postgres.

use std::fs;

use super::account::Account;
use super::part::{Kind, Part, Process};
use super::ports::Lease;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, StackError, find, write_private};

/// Connections to Postgres: so few that clients have to share each.
const SERVER_CONNECTIONS: usize = 2;

/// On a free port, for whoever knows the password of the database at this URL.
pub(super) fn pgbouncer(folder: &Folder, database_url: &str) -> Result<Part, StackError> {
    let odd = || StackError::io("the database's URL")(std::io::Error::other("has no user, password, port"));
    let parts = || {
        let (login, place) = database_url.split_once("://")?.1.split_once('@')?;
        let ((user, password), (address, name)) = (login.split_once(':')?, place.split_once('/')?);
        Some((user, password, address.split_once(':')?, name))
    };
    let (user, password, (host, port), name) = parts().ok_or_else(odd)?;
    let home = folder.sub("pgbouncer")?;
    let (users, config) = (home.join("users"), home.join("pgbouncer.ini"));
    let lease = Lease::any()?;
    let text = format!(
        "[databases]\n{name} = host={host} port={port} dbname={name}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = scram-sha-256\n\
         auth_file = {}\npool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 200\n",
        lease.port(),
        users.display()
    );
    write_private(&users, &format!("\"{user}\" \"{password}\"\n"))
        .and_then(|()| fs::write(&config, text))
        .map_err(StackError::io(config.display().to_string()))?;
    let mut launch = Launch::new(find("pgbouncer")?, &home, folder.log("pgbouncer"));
    launch.account = Account::for_folder(&home)?;
    if let Some(account) = &launch.account {
        account.give(&users)?;
        account.give(&config)?;
    }
    Ok(Part {
        name: "pgbouncer".to_owned(),
        kind: Kind::Peer,
        url: format!("postgresql://{user}:{password}@{}/{name}", lease.address()),
        metrics: None,
        probe: Probe::Accepts(lease.address()),
        launch: launch.args([config]),
        process: Process::none(),
        leases: vec![lease],
    })
}
