//! Certificates come and are renewed while clients are there: the authority's question reaches certbot, and what certbot got
//! reaches `HAProxy` (`systemd/examples/certbot-haproxy`).

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use hubbub_benches::stack::ports::Lease;
use hubbub_benches::stack::{find, wait};
use rcgen::generate_simple_self_signed;

use super::{DEADLINE, connect_from, head, whole};

const NAME: &str = "chat.example.org";
const ME: [u8; 4] = [127, 0, 0, 1];

/// Runs the hook as certbot does, with a `systemctl` that only notes what it was asked.
fn deploy(live: &Path, tls: &Path, programs: &Path) {
    fs::create_dir_all(programs).unwrap();
    let systemctl = programs.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >>\"$(dirname \"$0\")/asked\"\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/examples/certbot-haproxy");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let mut command = Command::new(hook);
    command.env("PATH", path).env("RENEWED_LINEAGE", live).env("HUBBUB_TLS_FOLDER", tls);
    assert!(command.status().unwrap().success());
}

#[test]
fn what_certbot_got_is_put_where_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let [live, tls, programs] = [NAME, "tls", "programs"].map(|name| folder.path().join(name));
    fs::create_dir(&live).unwrap();
    fs::create_dir(&tls).unwrap();
    for times in 1..=2 {
        let made = generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(live.join("fullchain.pem"), &chain).unwrap();
        fs::write(live.join("privkey.pem"), &key).unwrap();
        deploy(&live, &tls, &programs);

        let files: Vec<_> = fs::read_dir(&tls).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files, [tls.join("chat.example.org.pem")]);
        assert_eq!(fs::read_to_string(&files[0]).unwrap(), chain + &key);
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(programs.join("asked")).unwrap(), "reload haproxy\n".repeat(times));
    }
    super::check(&[("HUBBUB_TLS_FOLDER", tls.to_str().unwrap())]);
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_authority_s_question_reaches_certbot_and_all_else_goes_to_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    fs::create_dir(&tls).unwrap();
    let made = generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    fs::write(tls.join("chat.pem"), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    let leases = [(); 3].map(|()| Lease::any().unwrap());
    let [http, https, internal] = leases.each_ref().map(Lease::address);
    let certbot = TcpListener::bind("127.0.0.1:0").unwrap();
    certbot.set_nonblocking(true).unwrap();
    let haproxy = Command::new(find("haproxy").unwrap())
        .args(["-db", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/../haproxy/haproxy.cfg")])
        .env("HUBBUB_HTTP_LISTEN", http.to_string())
        .env("HUBBUB_HTTPS_LISTEN", https.to_string())
        .env("HUBBUB_INTERNAL_LISTEN", internal.to_string())
        .env("HUBBUB_HAPROXY_SOCKET", "unix@admin.sock")
        .env("HUBBUB_TLS_FOLDER", "tls")
        .env("HUBBUB_ACME", certbot.local_addr().unwrap().to_string())
        .current_dir(folder.path())
        .spawn();
    let _haproxy = Running(haproxy.unwrap());
    let listens = || std::net::TcpStream::connect(http).ok();
    wait::until(DEADLINE, listens).expect("HAProxy listens");

    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        whole(connect_from(ME, http), request.as_bytes())
    };
    let question = "/.well-known/acme-challenge/x1";
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let (mut stream, _) = wait::until(DEADLINE, || certbot.accept().ok()).unwrap();
            stream.set_nonblocking(false).unwrap();
            let asked = head(&mut stream, b"");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproof").unwrap();
            asked
        });
        assert!(get(question).ends_with("\r\n\r\nproof"));
        assert!(asked.join().unwrap().starts_with("get /.well-known/acme-challenge/x1 "));
    });
    for path in ["/", "/.well-known/other"] {
        let answer = get(path);
        assert!(answer.contains(&format!("\r\nlocation: https://{NAME}{path}\r\n")), "{answer}");
    }
    drop(certbot);
    assert!(get(question).starts_with("http/1.1 503 "));
}
