//! As whom Postgres runs: it refuses to run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use super::StackError;
use super::spawn::spawn;

/// An unprivileged user of this machine.
#[derive(Debug, Clone)]
pub(super) struct Account {
    name: &'static str,
    uid: u32,
    gid: u32,
    /// Whether it may pass folders that are closed to it, such as `/root`.
    passes_folders: bool,
}

impl Account {
    /// `None` where this process is unprivileged itself. Otherwise the folder then belongs to the account.
    pub(super) fn for_folder(folder: &Path) -> Result<Option<Self>, StackError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(StackError::io("/etc/passwd"))?;
        let account = ["postgres", "nobody"].into_iter().find_map(|name| Self::parse(&passwd, name));
        let mut account = account.ok_or_else(|| StackError::Missing {
            name: "a user named postgres or nobody".to_owned(),
            remedy: "Postgres does not run as root",
        })?;
        account.give(folder)?;
        account.passes_folders = !account.reaches(folder);
        Ok(Some(account))
    }

    /// Makes a file or folder belong to the account, closed to others.
    pub(super) fn give(&self, path: &Path) -> Result<(), StackError> {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        let given = chown(path, Some(self.uid), Some(self.gid))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
        given.map_err(StackError::io(format!("giving {} to {}", path.display(), self.name)))
    }

    fn parse(passwd: &str, name: &'static str) -> Option<Self> {
        let mut fields =
            passwd.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.split(':');
        let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, passes_folders: false })
    }

    fn reaches(&self, folder: &Path) -> bool {
        let mut command = Command::new("setpriv");
        command.args(self.setpriv_args()).arg("--").arg("test").arg("-d").arg(folder);
        let child = spawn_quiet(command);
        child.is_ok_and(|mut child| child.wait().is_ok_and(|status| status.success()))
    }

    /// What setpriv(1) needs to become it.
    pub(super) fn setpriv_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--reuid={}", self.uid),
            format!("--regid={}", self.gid),
            "--clear-groups".to_owned(),
        ];
        if self.passes_folders {
            // A checkout in root's home is closed to every other user.
            args.extend(["--inh-caps=+dac_override".to_owned(), "--ambient-caps=+dac_override".to_owned()]);
        }
        args
    }
}

fn spawn_quiet(mut command: Command) -> std::io::Result<std::process::Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    spawn(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_passwd() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgresql:x:1:1::/:\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        let account = Account::parse(passwd, "postgres").unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        assert!(Account::parse(passwd, "nobody").is_none());
    }
}
