//! A host with systemd as its first process, a minimal Debian, and the package; on a file system that forgets
//! everything. systemd-nspawn boots the folder that `.ci/deb-test` has made. It shares the network with the test, where
//! that is a network of their own (`.ci/deb-test` sees to that too), and so reaches the test's Redis and Postgres.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Folder, Part, Stack, procfs, spawn, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Client, Jar, Proof, mint};

/// How long anything may take that systemd does.
const DEADLINE: Duration = Duration::from_mins(2);
/// The addresses that the shipped settings have.
const GATEWAY: &str = "http://127.0.0.1:7000";
pub(super) const GATEWAY_UNIT: &str = "hubbub-gateway@0.service";
pub(super) const CONTROL_UNIT: &str = "hubbub-control.service";

/// Programs that run as tests share the ports of one network.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The folder of `.ci/deb-test`.
fn made(name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "no setting of a program")]
    let folder = std::env::var("HUBBUB_TEST_PACKAGES").expect("HUBBUB_TEST_PACKAGES: run make deb-test");
    Path::new(&folder).join(name)
}

pub(super) fn package() -> PathBuf {
    made("hubbub.deb")
}

/// A running host. Dropping it pulls its plug.
pub(super) struct Host {
    /// Redis and Postgres, elsewhere.
    pub(super) servers: Stack,
    nspawn: std::process::Child,
    init: u32,
    log: Folder,
    _alone: std::sync::MutexGuard<'static, ()>,
}

impl Host {
    /// Boots it, with nothing of ours in it.
    pub(super) fn boot() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let servers = Stack::builder().servers_only().start().unwrap();
        let log = Folder::temporary().unwrap();
        let console = fs::File::create(log.log("console")).unwrap();
        let mut command = Command::new("setpriv");
        // Its end by force would leave the host running.
        command.args(["--pdeathsig", "TERM", "--", "systemd-nspawn", "--quiet", "--boot"]);
        command.args([
            "--register=no",
            "--keep-unit",
            "--volatile=overlay",
            "--console=pipe",
            "--link-journal=no",
        ]);
        command.arg("--directory").arg(made("root"));
        command.stdin(Stdio::null()).stderr(console.try_clone().unwrap()).stdout(console);
        let nspawn = spawn(command).unwrap();
        let mut host = Self { servers, nspawn, init: 0, log, _alone: alone };
        let booted = wait::until(DEADLINE, || {
            host.init = *procfs::descendants(host.nspawn.id()).first()?;
            let told = host.try_run("systemctl is-system-running --wait");
            ["running", "degraded"].contains(&String::from_utf8(told.stdout).unwrap().trim()).then_some(())
        });
        assert!(booted.is_some(), "systemd-nspawn does not boot:\n{}", host.console());
        host
    }

    /// Boots it, installs the package, and writes the settings that there must be.
    pub(super) fn with_hubbub() -> Self {
        let host = Self::boot();
        host.install(&package());
        host.set("hubbub", &format!("HUBBUB_JWT_SECRET={}", host.servers.jwt_secret()));
        host.set("hubbub", &format!("HUBBUB_REDIS_URL={}", host.servers.redis_url().unwrap()));
        host.set("control", &format!("HUBBUB_DATABASE_URL={}", host.servers.database_url().unwrap()));
        host
    }

    /// Runs a line of shell, whatever comes of it.
    pub(super) fn try_run(&self, line: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.init.to_string());
        command.args(["--all", "--", "/bin/sh", "-c", line]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command.env("SYSTEMD_COLORS", "0").stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a line of shell that must succeed; gives what it prints.
    pub(super) fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        let told = String::from_utf8(output.stdout).unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {}\n{told}{problem}", output.status);
        told.trim_end().to_owned()
    }

    /// A file of the host.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root").join(path)
    }

    /// Installs or upgrades, as the package manager does once it has what the package depends on.
    pub(super) fn install(&self, package: &Path) {
        fs::copy(package, self.path("root/hubbub.deb")).unwrap();
        self.run("dpkg --install /root/hubbub.deb");
    }

    /// Adds a line to a settings file.
    pub(super) fn set(&self, file: &str, line: &str) {
        let path = self.path(&format!("etc/hubbub/{file}.env"));
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    /// Changes a unit as its administrator would.
    pub(super) fn drop_in(&self, unit: &str, lines: &str) {
        let folder = self.path(&format!("etc/systemd/system/{unit}.d"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("test.conf"), format!("[Service]\n{lines}\n")).unwrap();
        self.run("systemctl daemon-reload");
    }

    /// A property of a unit.
    pub(super) fn show(&self, unit: &str, property: &str) -> String {
        self.run(&format!("systemctl show --value --property={property} '{unit}'"))
    }

    /// Waits for a condition.
    pub(super) fn until<T>(&self, what: &str, check: impl FnMut() -> Option<T>) -> T {
        let seen = wait::until(DEADLINE, check);
        seen.unwrap_or_else(|| {
            panic!("{what}: this did not come about\n{}", self.run("journalctl --no-pager -n 60"))
        })
    }

    /// Waits until a unit has this state.
    pub(super) fn until_state(&self, unit: &str, state: &str) {
        self.until(&format!("{unit} is {state}"), || (self.show(unit, "ActiveState") == state).then_some(()));
    }

    /// Waits until systemd has started a service again, under another process id, and it is ready.
    pub(super) fn until_started_again(&self, unit: &str, before: &str) {
        self.until(&format!("{unit} is started again"), || {
            let now = self.run(&format!("systemctl show --property=MainPID,ActiveState '{unit}'"));
            let is_new = !now.lines().any(|line| line == format!("MainPID={before}") || line == "MainPID=0");
            (is_new && now.contains("ActiveState=active")).then_some(())
        });
    }

    /// What a service has said.
    pub(super) fn journal(&self, unit: &str) -> String {
        self.run(&format!("journalctl --sync && journalctl --no-pager --output=cat --unit='{unit}'"))
    }

    /// The health that a program tells on its internal port.
    pub(super) fn health(port: u16) -> Value {
        let health = Rest::new(&format!("http://127.0.0.1:{port}")).at_root().get("/health");
        health.unwrap_or_else(|error| panic!("port {port}: {error}"))
    }

    /// A connection to the gateway, in a room. It is there at once, or the test fails.
    pub(super) async fn client(&self, user: u64, room: &str) -> Client {
        let token = mint(&self.servers, user, &json!("*"));
        let mut client = Client::connect(GATEWAY, Proof::Bearer(&token), &mut Jar::default()).await;
        client.join(room, None).await;
        client
    }

    pub(super) fn redis(&self) -> &Part {
        self.servers.redis().unwrap()
    }

    pub(super) fn postgres(&self) -> &Part {
        self.servers.postgres().unwrap()
    }

    fn console(&self) -> String {
        fs::read_to_string(self.log.log("console")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.try_run("journalctl --no-pager -n 100").stdout;
            eprintln!("--- the end of the host's journal ---\n{}", String::from_utf8_lossy(&said));
        }
        // With its first process all others of a container end.
        procfs::signal(if self.init == 0 { self.nspawn.id() } else { self.init }, Signal::KILL);
        let _ = self.nspawn.wait();
    }
}
