//! Where the programs of a stack are.

use std::path::{Path, PathBuf};

use super::StackError;

/// Folders that Debian keeps out of an ordinary user's `PATH`.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// One of our own programs: beside the running one, or beside the folder `deps` where test programs are.
pub fn sibling(name: &str) -> Result<PathBuf, StackError> {
    let missing = || StackError::Missing { name: name.to_owned(), remedy: "run: cargo build --workspace" };
    let path = profile_folder()?.join(name);
    if path.is_file() { Ok(path) } else { Err(missing()) }
}

/// `target/debug` or the like.
pub(crate) fn profile_folder() -> Result<PathBuf, StackError> {
    let program = std::env::current_exe().map_err(StackError::io("the running program's path"))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let in_deps = folder.ends_with("deps");
    Ok(if in_deps { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// An installed program.
pub fn find(name: &str) -> Result<PathBuf, StackError> {
    let missing = || StackError::Missing { name: name.to_owned(), remedy: "run: make setup" };
    #[expect(clippy::disallowed_methods, reason = "PATH is no setting of ours")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(missing)
}

/// The folder with `postgres` and `initdb`, which Debian keeps by version: the newest one.
pub(super) fn postgres_folder() -> Result<PathBuf, StackError> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions
        .filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some((_, folder)) => Ok(folder),
        None => find("initdb").map(|path| path.parent().unwrap_or(Path::new("/")).to_owned()),
    }
}
